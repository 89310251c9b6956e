"""What a model is asked, and the token ids that it reads for it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openbook.errors import OpenbookError
from openbook.generation.settings import BeamSearch
from openbook.generation.translation import Translator
from openbook.text.characters import clean_line
from openbook.text.chat.chat_tokenizer import clean_messages
from openbook.text.formatting import format_count
from openbook.web.serve.errors import ApiError, bad_request
from openbook.web.serve.loaded import LoadedModel


@dataclass(frozen=True)
class TextPrompt:
    """A text to continue, as it is; names of special tokens in it are those tokens. For a translator: a source."""

    text: str


@dataclass(frozen=True)
class TokenPrompt:
    """Token ids to continue, as they are. For an encoder-decoder: of the source."""

    ids: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class ChatPrompt:
    """A conversation to answer. A translator translates its last message.

    Attributes:
        messages: as chat templates read them: `role`, `content` as one text, `tool_calls`, `tool_call_id`.
        tools: `{"type": "function", "function": {"name": …, "parameters": …}}` each.
        tool_choice: "auto", "none", "required", or the name of a tool that must be called.
        parallel_tool_calls: whether an answer may have several calls.
        continue_final: continue the last message, which is the assistant's, instead of answering it.
        variables: more of them for the template.
    """

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    continue_final: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SourcePrompt:
    """A sentence to translate, with the codes of languages for a model that has several."""

    text: str
    target_language: str | None = None
    source_language: str | None = None


Prompt = TextPrompt | TokenPrompt | ChatPrompt | SourcePrompt


@dataclass(frozen=True)
class Languages:
    """Codes of the languages of a translation that was asked for as a text or a conversation."""

    target: str | None = None
    source: str | None = None


NO_LANGUAGES = Languages()


@dataclass(frozen=True, kw_only=True)
class EncodedPrompt:
    """The tokens of a prompt.

    Attributes:
        ids: what the decoder reads.
        source: what the encoder of an encoder-decoder reads.
        is_translation: whether the answer is a translation.
        begins_text: whether the answer begins a text of its own, rather than going on with one.
        target_language: its code, if one was asked for.
    """

    ids: Sequence[int]
    source: Sequence[int] | None = None
    is_translation: bool = False
    begins_text: bool = False
    target_language: str | None = None

    @property
    def count(self) -> int:
        """How many tokens were asked."""
        return len(self.ids if self.source is None else self.source)


def encode_prompt(loaded: LoadedModel, prompt: Prompt, languages: Languages = NO_LANGUAGES) -> EncodedPrompt:
    """The tokens of a prompt.

    Raises:
        OpenbookError: it cannot be read, or its template refuses it.
        ApiError: the model takes no such prompt, or it is too long.
    """
    encoded = _encode(loaded, prompt, languages)
    if encoded.count > loaded.context:
        raise ApiError(
            400,
            f"the prompt has {format_count(encoded.count, 'token')}, and the model reads at most {loaded.context:,}; "
            "shorten it",
            code="context_length_exceeded",
        )
    return encoded


def _encode(loaded: LoadedModel, prompt: Prompt, languages: Languages) -> EncodedPrompt:
    if not loaded.model.translates and (isinstance(prompt, SourcePrompt) or languages != NO_LANGUAGES):
        raise bad_request(f"{loaded.id} does not translate; ask a model that was trained on sentence pairs", "model")
    if isinstance(prompt, TokenPrompt):
        return _encode_ids(loaded, prompt)
    if loaded.model.translates:
        return _encode_source(loaded, _as_source(prompt, languages))
    if isinstance(prompt, ChatPrompt):
        return EncodedPrompt(ids=_encode_chat(loaded, prompt), begins_text=True)
    assert isinstance(prompt, TextPrompt)
    ids = loaded.tokenizer.encode_prompt(prompt.text, allow_special=True)
    return EncodedPrompt(ids=ids or [loaded.tokenizer.end_id])  # an empty text stands for a new document


def _encode_ids(loaded: LoadedModel, prompt: TokenPrompt) -> EncodedPrompt:
    engine = loaded.model.engine
    size = engine.source_vocab_size or engine.vocab_size
    if not prompt.ids:
        raise bad_request("prompt: is empty; give at least one token", "prompt")
    if min(prompt.ids) < 0 or max(prompt.ids) >= size:
        raise bad_request(f"prompt: has a token that is not from 0 to {size - 1:,}", "prompt")
    if engine.source_vocab_size is None:
        return EncodedPrompt(ids=list(prompt.ids), is_translation=loaded.model.translates)
    start = _translator(loaded, SourcePrompt("")).token_translator.start
    return EncodedPrompt(ids=[start], source=list(prompt.ids), is_translation=True, begins_text=True)


def _encode_source(loaded: LoadedModel, prompt: SourcePrompt) -> EncodedPrompt:
    if not clean_line(prompt.text):
        raise bad_request("the sentence to translate is empty")
    translator = _translator(loaded, prompt)
    ids = translator.encode_source(prompt.text)
    language = prompt.target_language
    if loaded.model.engine.source_vocab_size is None:
        return EncodedPrompt(ids=ids, is_translation=True, begins_text=True, target_language=language)
    start = [translator.token_translator.start]
    return EncodedPrompt(ids=start, source=ids, is_translation=True, begins_text=True, target_language=language)


def _as_source(prompt: Prompt, languages: Languages) -> SourcePrompt:
    """What a translator is asked by a text or a conversation: sentences have no memory, the last message counts."""
    if isinstance(prompt, SourcePrompt):
        return prompt
    if isinstance(prompt, TextPrompt):
        return SourcePrompt(prompt.text, languages.target, languages.source)
    assert isinstance(prompt, ChatPrompt)
    if prompt.tools:
        raise bad_request("tools: a translator calls none; leave them out", "tools")
    if any(message["role"] not in ("user", "assistant") for message in prompt.messages):
        raise bad_request("messages: a translator takes those of the user alone; leave the others out", "messages")
    last = prompt.messages[-1] if prompt.messages else {}
    if last.get("role") != "user" or not isinstance(last.get("content"), str):
        raise bad_request("messages: the last one must be the user's; it is what is translated", "messages")
    return SourcePrompt(last["content"], languages.target, languages.source)


def _translator(loaded: LoadedModel, prompt: SourcePrompt) -> Translator:
    return Translator(
        engine=loaded.model.engine,
        source_tokenizer=loaded.source_tokenizer,
        target_tokenizer=loaded.tokenizer,
        decoding=BeamSearch(),
        source_language=prompt.source_language,
        target_language=prompt.target_language,
    )


def _encode_chat(loaded: LoadedModel, prompt: ChatPrompt) -> list[int]:
    chat = loaded.model.chat
    if chat is None:
        raise bad_request(
            f"{loaded.id} has no chat template, so it holds no conversation; use /v1/completions", "model"
        )
    if not prompt.messages:
        raise bad_request("messages: is empty; give at least one", "messages")
    variables = dict(prompt.variables)
    if prompt.tools and prompt.tool_choice != "none":
        if loaded.tools is None:
            raise bad_request(f"tools: the chat template of {loaded.id} takes none; leave them out", "tools")
        variables["tools"] = list(prompt.tools)
    messages = [_with_parsed_arguments(message) for message in clean_messages(prompt.messages)]
    try:
        if not prompt.continue_final:
            return chat.encode(messages, **variables)
        return _encode_begun(loaded, messages, variables)
    except OpenbookError as error:
        raise bad_request(str(error), "messages") from None


def _encode_begun(
    loaded: LoadedModel, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]
) -> list[int]:
    """The conversation up to the last message, with the beginning of the answer after it."""
    chat, last = loaded.model.chat, messages[-1]
    assert chat is not None
    if last["role"] != "assistant" or not isinstance(last.get("content"), str) or len(messages) < 2:
        raise bad_request("messages: the last one must be the assistant's, to be continued", "messages")
    return [*chat.encode(messages[:-1], **variables), *loaded.tokenizer.encode(last["content"])]


def _with_parsed_arguments(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments of calls as objects, as templates expect them; clients give them as JSON in a text."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    return {**message, "tool_calls": [_with_parsed(call) for call in calls]}


def _with_parsed(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    try:
        return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}
    except (ValueError, RecursionError):
        return call
