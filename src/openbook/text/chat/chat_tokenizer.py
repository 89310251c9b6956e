"""Conversations as token ids, by a model's chat template and tokenizer."""

import secrets
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from openbook.errors import OpenbookError
from openbook.text.characters import clean_text
from openbook.text.chat.template import RENDER_SECONDS, ChatTemplate, Message
from openbook.text.tokenizer.tokenizer import Tokenizer


class ChatTokenizer:
    """A tokenizer with the chat template of its model."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str,
        seconds: float = RENDER_SECONDS,
        process: "subprocess.Popen[bytes] | None" = None,
    ) -> None:
        """The template is not compiled before it is needed; `process` as for `ChatTemplate`."""
        self.tokenizer = tokenizer
        self.template = ChatTemplate(template, _token_variables(tokenizer), seconds, process)

    def encode(self, messages: Sequence[Message], *, add_generation_prompt: bool = True, **variables: Any) -> list[int]:
        """Token ids of a conversation. Only the template can write special tokens; what people wrote is text.

        Raises OpenbookError as `ChatTemplate.render`.
        """
        text, escaped = self.render(messages, add_generation_prompt=add_generation_prompt, **variables)
        return self.tokenizer.escaping.encode(text) if escaped else self.tokenizer.encode(text, allow_special=True)

    def encode_prompt(self, prompt: str) -> list[int]:
        """Token ids of a conversation that is one message of the user.

        Raises OpenbookError as `ChatTemplate.render`.
        """
        return self.encode([{"role": "user", "content": prompt}])

    def encode_latest(self, messages: Sequence[Message], length: int) -> list[int]:
        """Token ids of a conversation, without its oldest messages where it is longer than `length`.

        Messages of the system and the last message always stay, so the result may still be too long.

        Raises OpenbookError as `ChatTemplate.render`.
        """
        ids = self.encode(messages)
        while len(ids) > length and len(shorter := _without_oldest(messages)) < len(messages):
            messages = shorter
            ids = self.encode(messages)
        return ids

    def template_token_indices(self, prompt: str) -> set[int]:
        """Which tokens of `encode` the template wrote, where the conversation is one message of a user.

        Raises OpenbookError as `ChatTemplate.render`.
        """
        text, escaped = self.render([{"role": "user", "content": prompt}])
        unlikely = secrets.token_hex(16)
        before, _, after = self.render([{"role": "user", "content": unlikely}])[0].partition(unlikely)
        encoder = self.tokenizer.escaping if escaped else self.tokenizer
        _, starts = encoder.encode_with_starts(text)
        ends = [max(end, start + 1) for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
        first, last = len(before), len(text) - len(after)
        spans = enumerate(zip(starts, ends, strict=True))
        return {index for index, (start, end) in spans if end <= first or start >= last}

    def render(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True, **variables: Any
    ) -> tuple[str, bool]:
        """The conversation as text, and whether names of special tokens that people wrote are escaped in it."""
        given: dict[str, Any] = {"messages": list(messages), **variables}
        escaped = any(name in text for text in _texts(given) for name in self.tokenizer.special_ids)
        if escaped:
            given = _map_texts(given, self.tokenizer.escaping.escape)
        return self.template.render(add_generation_prompt=add_generation_prompt, **given), escaped


def clean_messages(messages: Sequence[Message]) -> list[Message]:
    """The messages with their texts as `clean_text` leaves them, for training and asking alike.

    Raises:
        OpenbookError: they are no list of messages with a role each.
    """
    wrong = isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence)
    if wrong or not all(isinstance(each, Mapping) and isinstance(each.get("role"), str) for each in messages):
        raise OpenbookError('messages: give a list of them, such as [{"role": "user", "content": "Good morning."}]')
    return [
        {**message, "content": clean_text(message["content"])} if isinstance(message.get("content"), str) else message
        for message in messages
    ]


def _without_oldest(messages: Sequence[Message]) -> list[Message]:
    """Without the first message that is not the system's and the answer to it; the last message stays."""
    kept = list(messages)
    first = next((i for i, message in enumerate(kept) if message["role"] != "system"), len(kept))
    while first < len(kept) - 1:
        del kept[first]
        if kept[first]["role"] == "user":
            break
    return kept


def _token_variables(tokenizer: Tokenizer) -> dict[str, str]:
    """The variables of a template that name special tokens."""
    return {
        role: tokenizer.token_bytes(token_id).decode("utf-8", "replace")
        for role, token_id in tokenizer.special.named_roles().items()
    }


def _texts(value: Any) -> list[str]:
    """All texts in plain data, except the keys of dictionaries."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [text for each in value for text in _texts(each)] if isinstance(value, list | tuple) else []


def _map_texts(value: Any, function: Callable[[str], str]) -> Any:
    """The same data with `function` applied to every text, except the keys of dictionaries."""
    if isinstance(value, str):
        return function(value)
    if isinstance(value, Mapping):
        return {key: _map_texts(item, function) for key, item in value.items()}
    return [_map_texts(each, function) for each in value] if isinstance(value, list | tuple) else value
