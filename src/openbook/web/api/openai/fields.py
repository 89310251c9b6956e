"""Fields that chats and completions share, and what they mean to a generation."""

from typing import Annotated, Any, Literal

from pydantic import Field

from openbook.web.serve.bodies import LONG, MANY, Body
from openbook.web.serve.errors import bad_request
from openbook.web.serve.grammar import OutputFormat
from openbook.web.serve.prompts import Languages

Text = Annotated[str, Field(max_length=LONG)]
Name = Annotated[str, Field(max_length=256)]
Count = Annotated[int, Field(ge=1, le=128)]
Stop = Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=100)]
TokenId = Annotated[str, Field(pattern="^[0-9]{1,8}$")]
Bias = Annotated[dict[TokenId, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=MANY)]
Share = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-100, le=100)]

SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "min_tokens",
    "beam_size",
    "length_penalty",
    "early_stopping",
    "no_repeat_ngram_size",
)
"""Fields with the names and meanings of our settings."""


class StreamOptions(Body):
    """How to stream.

    Attributes:
        include_usage: end with a chunk that counts the tokens.
    """

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class JsonSchemaFormat(Body):
    """A JSON Schema with a name."""

    name: Name = ""
    description: Text | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Body):
    """The form of an answer: text, a JSON object, or JSON by a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class Common(Body):
    """What chats and completions share; what is absent is as the model file says."""

    model: Name | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Count | None = None
    stop: Annotated[str, Field(min_length=1, max_length=1000)] | Stop | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=1, le=2**24)] | None = None
    min_p: Share | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=1000)] | None = None
    logit_bias: Bias | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    min_tokens: Annotated[int, Field(ge=0, le=2**31)] | None = None
    beam_size: Annotated[int, Field(ge=1, le=64)] | None = None
    length_penalty: Annotated[float, Field(ge=-10, le=10)] | None = None
    early_stopping: Literal["never", "heuristic", "always"] | None = None
    response_format: ResponseFormat | None = None
    target_language: Name | None = None
    source_language: Name | None = None
    user: Name | None = None
    metadata: Annotated[dict[str, Text], Field(max_length=64)] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None

    def settings(self) -> dict[str, Any]:
        """The settings of sampling or beam search that were given."""
        given = {name: value for name in SAMPLING if (value := getattr(self, name)) is not None}
        if self.stop is not None:
            given["stop"] = [self.stop] if isinstance(self.stop, str) else self.stop
        if self.logit_bias:
            given["logit_bias"] = tuple((int(token), bias) for token, bias in self.logit_bias.items())
        if self.beam_size is not None and self.beam_size > 1:
            given["n_best"] = self.n or 1
        return given

    @property
    def languages(self) -> Languages:
        """Of a translation."""
        return Languages(self.target_language, self.source_language)

    @property
    def samples(self) -> int:
        """How many answers are sampled for each prompt; a beam search counts its own."""
        return 1 if self.beam_size is not None and self.beam_size > 1 else self.n or 1

    def output_format(self) -> OutputFormat | None:
        """The form of the answer.

        Raises:
            ApiError: its schema is none.
        """
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return None
        if wanted.type == "json_object":
            return OutputFormat.json_object()
        if wanted.json_schema is None or wanted.json_schema.schema_ is None:
            raise bad_request("response_format.json_schema.schema: is missing", "response_format.json_schema.schema")
        return OutputFormat.json_schema(wanted.json_schema.schema_)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the counts of tokens.

        Raises:
            ApiError: `stream_options` without a stream.
        """
        if self.stream_options is not None and not self.stream:
            raise bad_request("stream_options: are for streams; set stream, or leave them out", "stream_options")
        return self.stream_options is not None and self.stream_options.include_usage


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> dict[str, Any]:
    """The counts of tokens."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }


def finish_reason(reason: str | None) -> str | None:
    """Why an answer ended: `stop` for an end token and a stop sequence alike."""
    return "stop" if reason == "end" else reason
