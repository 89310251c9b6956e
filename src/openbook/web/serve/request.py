"""A request in no API's words, and the batch requests that answer it."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from openbook.errors import NAMED, SettingError
from openbook.generation.batching.request import BatchRequest
from openbook.generation.settings import BeamSearch, Sampling, decoding_settings
from openbook.generation.stop_sequences import StopSequences
from openbook.generation.token_rules import TokenRules
from openbook.text.tokenizer.tokenizer import StreamDecoder
from openbook.web.serve.errors import ApiError, bad_request
from openbook.web.serve.grammar import OutputFormat
from openbook.web.serve.loaded import LoadedModel
from openbook.web.serve.prompts import NO_LANGUAGES, ChatPrompt, EncodedPrompt, Languages, Prompt, encode_prompt
from openbook.web.serve.tool_format import ToolFormat

MAX_CHOICES = 1024
"""Most answers to one request."""
SEED_BITS = 48
"""Of a seed that is drawn: JavaScript knows it to the last digit, even with a number added."""
CHAT_TOKENS = 1024
"""Most tokens of an answer in a conversation, where neither the request nor the model file says."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What to answer, and how.

    Attributes:
        model: its name; None: the first model.
        prompts: one or several, each with `n` choices.
        settings: what the client gave of `Sampling` or `BeamSearch`; the model file's defaults stand under them.
        n: answers to each prompt.
        best_of: sample so many, and return the n with the highest mean log-probability.
        logprobs: give each token its log-probability, and so many of the most probable; None: neither.
        echo: give the prompt's tokens likewise.
        search: whether a beam search is meant where the settings do not tell.
        format: the form that answers must have.
        languages: of texts and conversations that a translator translates.
        fields: names of the client's fields for errors, where they are not ours: `{"max_tokens": "max_output_tokens"}`.
    """

    model: str | None
    prompts: Sequence[Prompt]
    settings: Mapping[str, Any] = field(default_factory=dict)
    n: int = 1
    best_of: int | None = None
    logprobs: int | None = None
    echo: bool = False
    search: bool = False
    format: OutputFormat | None = None
    languages: Languages = NO_LANGUAGES
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A prompt's batch request, and what its answer needs to be read.

    Attributes:
        prompt: its tokens.
        request: for the batcher.
        stop: texts before which an answer ends.
        streams: whether tokens come as they are chosen.
        tools: how calls are written, if there are tools.
        tool_names: of the tools.
        several_calls: whether an answer may have several.
    """

    prompt: EncodedPrompt
    request: BatchRequest
    stop: tuple[str, ...] = ()
    streams: bool = True
    tools: ToolFormat | None = None
    tool_names: frozenset[str] = frozenset()
    several_calls: bool = True

    @property
    def choices(self) -> int:
        """How many answers the prompt gets."""
        decoding = self.request.decoding
        return decoding.n_best if isinstance(decoding, BeamSearch) else self.request.n


def plan_requests(loaded: LoadedModel, asked: GenerationRequest, client: str) -> list[Plan]:
    """The batch request of each prompt, completely checked. Takes a while: call it on a thread.

    Raises:
        ApiError, OpenbookError: the request cannot be answered as it is.
    """
    choices = len(asked.prompts) * max(asked.n, asked.best_of or 1)
    if not 1 <= choices <= MAX_CHOICES:
        raise bad_request(f"the request wants {choices:,} answers; 1 to {MAX_CHOICES:,} are allowed")
    if asked.best_of is not None and asked.best_of < asked.n:
        raise bad_request(f"best_of: is {asked.best_of}, less than n, {asked.n}", "best_of")
    return [_plan(loaded, asked, prompt, client) for prompt in asked.prompts]


def _plan(loaded: LoadedModel, asked: GenerationRequest, prompt: Prompt, client: str) -> Plan:
    encoded = encode_prompt(loaded, prompt, asked.languages)
    settings = dict(asked.settings)
    limit = settings.pop("max_tokens", None)
    decoding = _decoding(loaded, asked, settings, encoded)
    rules = TokenRules.of(loaded.tokenizer.special, decoding, encoded.target_language, unused=loaded.unused_ids)
    stop = decoding.stop if isinstance(decoding, Sampling) else ()
    tools, names, several = _tools(loaded, prompt)
    wanted = asked.format or _form_of_calls(loaded, prompt, tools)
    if asked.echo and encoded.source is not None:
        raise bad_request("echo: the prompt of an encoder-decoder is its source, which it gives no probability", "echo")
    request = BatchRequest(
        prompt=encoded.ids,
        source=encoded.source,
        decoding=decoding,
        rules=rules,
        max_tokens=_limit(loaded, prompt, encoded, limit),
        n=asked.n,
        best_of=asked.best_of,
        top_logprobs=asked.logprobs,
        prompt_logprobs=asked.logprobs if asked.echo else None,
        stop=_stop_check(loaded, stop, encoded.begins_text) if stop else None,
        text_of=partial(loaded.tokenizer.decode, skip_special=True),
        mask=None if wanted is None else loaded.grammar_tokenizer.compile(wanted),
        client=client,
    )
    streams = isinstance(decoding, Sampling) and asked.best_of in (None, asked.n)
    return Plan(
        prompt=encoded,
        request=request,
        stop=stop,
        streams=streams,
        tools=tools,
        tool_names=names,
        several_calls=several,
    )


def _decoding(
    loaded: LoadedModel, asked: GenerationRequest, settings: Mapping[str, Any], encoded: EncodedPrompt
) -> BeamSearch | Sampling:
    """The settings, with a seed in any case; errors name the client's fields."""
    defaults: dict[str, Any] = dict(loaded.metadata.generation)
    if encoded.is_translation and not asked.search:
        defaults = {"temperature": 0.0} | defaults
    try:
        decoding = decoding_settings(defaults, settings, prefer_search=asked.search)
    except SettingError as error:
        raise setting_problem(error, asked.fields) from None
    if isinstance(decoding, Sampling) and decoding.seed is None:
        decoding = replace(decoding, seed=secrets.randbits(SEED_BITS))
    return decoding


def setting_problem(error: SettingError, fields: Mapping[str, str]) -> ApiError:
    """The same with the names of the client's fields."""
    found = NAMED.search(error.message)
    param = None if found is None else fields.get(found[1], found[1])
    return bad_request(error.spelled(lambda name: fields.get(name, name)), param)


def _limit(loaded: LoadedModel, prompt: Prompt, encoded: EncodedPrompt, given: int | None) -> int:
    """Most tokens of an answer: what was given, else the model file's, else by its kind; the context allows no more."""
    limit = given
    if limit is None:
        limit = loaded.metadata.generation.get("max_tokens")
        if encoded.is_translation:
            limit = min(limit or Sampling().max_tokens, 2 * encoded.count + 20)
    if limit is None:
        limit = CHAT_TOKENS if isinstance(prompt, ChatPrompt) else Sampling().max_tokens
    return min(limit, loaded.context + 1 - len(encoded.ids))


def _stop_check(loaded: LoadedModel, stop: tuple[str, ...], begins_text: bool) -> Callable[[], Callable[[int], bool]]:
    """Makes, for each choice, what tells after each token whether a stop sequence has appeared."""

    def make() -> Callable[[int], bool]:
        decoder, stops = StreamDecoder(loaded.tokenizer, beginning=begins_text), StopSequences(stop)

        def check(token: int) -> bool:
            stops.feed(decoder.feed([token]))
            return stops.found

        return check

    return make


def _tools(loaded: LoadedModel, prompt: Prompt) -> tuple[ToolFormat | None, frozenset[str], bool]:
    if not isinstance(prompt, ChatPrompt) or not prompt.tools or prompt.tool_choice == "none":
        return None, frozenset(), True
    names = frozenset(tool["function"]["name"] for tool in prompt.tools)
    if prompt.tool_choice not in ("auto", "required") and prompt.tool_choice not in names:
        raise bad_request(f"tool_choice: there is no tool {prompt.tool_choice[:64]}", "tool_choice")
    return loaded.tools, names, prompt.parallel_tool_calls


def _form_of_calls(loaded: LoadedModel, prompt: Prompt, tools: ToolFormat | None) -> OutputFormat | None:
    """The form of an answer that must be a call, or whose calls must be as a strict tool says."""
    if tools is None or not isinstance(prompt, ChatPrompt):
        return None
    required = prompt.tool_choice != "auto"
    if not required and not any(tool["function"].get("strict") for tool in prompt.tools):
        return None
    wanted = [each for each in prompt.tools if prompt.tool_choice in ("auto", "required", each["function"]["name"])]
    special = loaded.tokenizer.special_ids
    return OutputFormat.call(tools.opening, tools.call_schema(wanted), tools.closing, special, required=required)
