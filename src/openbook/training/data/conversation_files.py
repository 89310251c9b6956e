"""Conversations, read from JSON lines of messages or of prompts and answers, and encoded with a mask of the answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from openbook.errors import OpenbookError
from openbook.text.chat.chat_tokenizer import ChatTokenizer, clean_messages
from openbook.text.chat.template import Message
from openbook.text.plain_files import open_plain
from openbook.text.strict_json import read_json
from openbook.text.tokenizer.unknown import Unknown

LONGEST_LINE = 8_000_000
"""Characters of one conversation."""
MAX_MESSAGES = 10_000
ANSWER_KEYS = ("answer", "completion", "response")
"""Keys that the answer to a `prompt` may have."""


@dataclass(frozen=True)
class Conversation:
    """Messages in their order, and other variables of the chat template, such as `tools`."""

    messages: tuple[Message, ...]
    variables: Mapping[str, Any]


class EncodedConversation(NamedTuple):
    """A conversation as a model reads it."""

    ids: list[int]
    answers: list[bool]
    """For each token whether it belongs to an answer."""
    unknown: Unknown
    """What of the answers is not in the vocabulary."""


def read_conversations(path: Path) -> Iterator[Conversation]:
    """Read a file of one conversation a line: `{"messages": [{"role": …, "content": …}, …]}`, or a prompt and answer.

    Empty lines are skipped. Of other keys only `tools` is used.

    Raises:
        OpenbookError: a line is no conversation; names the file and the line.
    """
    try:
        with open_plain(path) as file:
            number = 0
            while line := file.readline(4 * LONGEST_LINE + 1):
                number += 1
                if line.strip():
                    yield _parse(f"{path}: line {number:,}", line)
    except OSError as error:
        raise OpenbookError(f"{path}: cannot be read ({error.strerror})") from None
    if not number:
        raise OpenbookError(f"{path}: is empty; write a conversation on each line")


def _parse(where: str, line: bytes) -> Conversation:
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OpenbookError(f"{where}: is not UTF-8 at byte {error.start:,}") from None
    value = read_json(where, text, LONGEST_LINE)
    if not isinstance(value, dict):
        raise OpenbookError(f"{where}: should be a JSON object with messages, or with prompt and answer")
    messages = value.get("messages")
    if messages is None:
        messages = _prompt_and_answer(where, value)
    if not isinstance(messages, list) or not 1 <= len(messages) <= MAX_MESSAGES:
        raise OpenbookError(f"{where}: messages should be a list of 1 to {MAX_MESSAGES:,}")
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise OpenbookError(f"{where}: message {number} should have a role and a content")
        content = message.get("content")
        if not isinstance(content, str | list) and not (content is None and "tool_calls" in message):
            raise OpenbookError(f"{where}: the content of message {number} should be text")
    if not any(message["role"] == "assistant" for message in messages):
        raise OpenbookError(f"{where}: has no message of the role assistant, so there is no answer to learn")
    return Conversation(tuple(clean_messages(messages)), {"tools": value["tools"]} if value.get("tools") else {})


def _prompt_and_answer(where: str, value: dict[str, Any]) -> list[Message]:
    answers = [value[name] for name in ANSWER_KEYS if name in value]
    if not isinstance(value.get("prompt"), str) or len(answers) != 1 or not isinstance(answers[0], str):
        raise OpenbookError(f"{where}: should have messages, or the texts prompt and answer")
    return [{"role": "user", "content": value["prompt"]}, {"role": "assistant", "content": answers[0]}]


def encode_with_answer_mask(chat: ChatTokenizer, conversation: Conversation) -> EncodedConversation:
    """Token ids of a conversation, and for each whether it belongs to an answer, its end token included.

    An answer is what the template writes for an assistant's message after the generation prompt. Some templates rewrite
    earlier answers, for example without their reasoning. Those are not learned.

    Raises:
        OpenbookError: the template writes no answer in this way, or as `ChatTemplate.render`.
    """
    messages = list(conversation.messages)
    text, escaped = chat.render(messages, add_generation_prompt=False, **conversation.variables)
    spans = []
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt, _ = chat.render(messages[:number], add_generation_prompt=True, **conversation.variables)
            with_answer, _ = chat.render(messages[: number + 1], add_generation_prompt=False, **conversation.variables)
            if text.startswith(with_answer) and with_answer.startswith(prompt):
                answer = _up_to_end_token(chat, with_answer[len(prompt) :])
                spans.append((len(prompt), len(prompt) + len(answer)))
    if not spans:
        raise OpenbookError("the chat template does not write answers behind the text that asks for them")
    encoder = chat.tokenizer.escaping if escaped else chat.tokenizer
    ids, starts = encoder.encode_with_starts(text)
    answers = _inside(starts, spans)
    spelled = zip(ids, answers, starts, [*starts[1:], len(text)], strict=True)
    unknown_id = chat.tokenizer.unknown_id
    unknown = [text[start:end] for number, inside, start, end in spelled if inside and number == unknown_id]
    return EncodedConversation(ids, answers, Unknown(len(unknown), len("".join(unknown).encode())))


def _up_to_end_token(chat: ChatTokenizer, answer: str) -> str:
    """The answer up to its end token. Line ends after that are the template's."""
    end_tokens = [chat.tokenizer.token_bytes(token_id).decode() for token_id in chat.tokenizer.special.end]
    stop = max(answer.rfind(token) + len(token) if token in answer else 0 for token in end_tokens)
    return answer[:stop] if stop and not answer[stop:].strip() else answer


def _inside(indices: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """For each of the rising indices whether it is in one of the spans, which are in order and do not overlap."""
    inside, left = [], list(spans)
    for index in indices:
        while left and index >= left[0][1]:
            left.pop(0)
        inside.append(bool(left) and index >= left[0][0])
    return inside
