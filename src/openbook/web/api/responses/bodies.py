"""What clients of /v1/responses send: https://platform.openai.com/docs/api-reference/responses/create.

Nothing is kept between requests, so what refers to an earlier answer is refused: send the conversation as `input`.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from openbook.web.serve.bodies import MANY, Body

Name = Annotated[str, Field(min_length=1, max_length=256)]
Status = Literal["in_progress", "completed", "incomplete"]


class TextPart(Body):
    """A part of a message that is text; an answer that is sent back has more fields, which say nothing new."""

    type: Literal["input_text", "output_text", "text"]
    text: str
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    logprobs: Annotated[list[Any], Field(max_length=MANY)] | None = None


class MessageItem(Body):
    """A turn of a conversation."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Annotated[list[TextPart], Field(max_length=MANY)]
    id: Name | None = None
    status: Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class FunctionCallItem(Body):
    """A call of a function that the model asked for earlier; `arguments` is JSON."""

    type: Literal["function_call"]
    call_id: Name
    name: Name
    arguments: str
    id: Name | None = None
    status: Status | None = None


class FunctionOutputItem(Body):
    """What a called function answered."""

    type: Literal["function_call_output"]
    call_id: Name
    output: str | Annotated[list[TextPart], Field(max_length=MANY)]
    id: Name | None = None
    status: Status | None = None


def _kind(item: Any) -> Any:
    """The type of an item; a message need not say it."""
    kind = item.get("type", "message") if isinstance(item, dict) else getattr(item, "type", None)
    return kind if isinstance(kind, str) else None


InputItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionOutputItem, Tag("function_call_output")],
    Discriminator(_kind),
]


class FunctionTool(Body):
    """A function that the model may call."""

    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class OneFunction(Body):
    """Call this function."""

    type: Literal["function"]
    name: Name


class TextFormat(Body):
    """Any text."""

    type: Literal["text"]


class ObjectFormat(Body):
    """A JSON object."""

    type: Literal["json_object"]


class SchemaFormat(Body):
    """JSON of this schema."""

    type: Literal["json_schema"]
    name: Name
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class Text(Body):
    """What the answer looks like."""

    format: Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Literal["medium"] | None = None


class NoReasoning(Body):
    """No reasoning apart from the answer."""

    effort: Literal["none"] | None = None
    summary: None = None
    generate_summary: None = None


class StreamOptions(Body):
    """Events are not padded."""

    include_obfuscation: Literal[False] | None = None


Included = Literal["message.output_text.logprobs", "reasoning.encrypted_content"]


class ResponsesBody(Body):
    """A conversation to answer."""

    model: Name | None = None
    input: str | Annotated[list[InputItem], Field(min_length=1, max_length=MANY)]
    instructions: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=2**31)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    top_k: Annotated[int, Field(ge=1, le=2**24)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    text: Text | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MANY)] | None = None
    tool_choice: Literal["auto", "none", "required"] | OneFunction | None = None
    parallel_tool_calls: bool | None = None
    include: Annotated[list[Included], Field(max_length=MANY)] | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    reasoning: NoReasoning | None = None
    truncation: Literal["disabled"] | None = None
    store: Literal[False] | None = None
    background: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    previous_response_id: None = None
    conversation: None = None
    prompt: None = None
    max_tool_calls: None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    safety_identifier: Annotated[str, Field(max_length=512)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=512)] | None = None
