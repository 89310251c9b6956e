"""Conversations to learn from: JSON lines of messages, or of a prompt and its answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openbook.errors import OpenbookError
from openbook.text.chat.chat_tokenizer import ChatTokenizer
from openbook.text.chat.template import Message
from openbook.text.strict_json import read_json

LONGEST_LINE = 8_000_000
"""Characters of one conversation."""
MOST_MESSAGES = 10_000
ANSWERS = ("answer", "completion", "response")
"""What the answer to a `prompt` may be called."""


@dataclass(frozen=True)
class Conversation:
    """Messages in their order, and what else the template may want, such as `tools`."""

    messages: tuple[Message, ...]
    variables: Mapping[str, Any]


def read_conversations(path: Path) -> Iterator[Conversation]:
    """The conversations of a file, one a line: `{"messages": [{"role": …, "content": …}, …]}`, or a prompt and answer.

    Empty lines are passed over; so are keys that are not spoken of here, but for `tools`.

    Raises:
        OpenbookError: naming the file, the line and what is wrong with it.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(4 * LONGEST_LINE + 1):
                number += 1
                if line.strip():
                    yield _conversation(f"{path}: line {number:,}", line)
    except OSError as error:
        raise OpenbookError(f"{path}: cannot be read ({error.strerror})") from None
    if not number:
        raise OpenbookError(f"{path}: is empty; write a conversation on each line")


def _conversation(where: str, line: bytes) -> Conversation:
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OpenbookError(f"{where}: is not UTF-8 at byte {error.start:,}") from None
    value = read_json(where, text, LONGEST_LINE)
    if not isinstance(value, dict):
        raise OpenbookError(f"{where}: should be a JSON object with messages, or with prompt and answer")
    messages = value.get("messages")
    if messages is None:
        messages = _pair(where, value)
    if not isinstance(messages, list) or not 1 <= len(messages) <= MOST_MESSAGES:
        raise OpenbookError(f"{where}: messages should be a list of 1 to {MOST_MESSAGES:,}")
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise OpenbookError(f"{where}: message {number} should have a role and a content")
        content = message.get("content")
        if not isinstance(content, str | list) and not (content is None and "tool_calls" in message):
            raise OpenbookError(f"{where}: the content of message {number} should be text")
    if not any(message["role"] == "assistant" for message in messages):
        raise OpenbookError(f"{where}: has no message of the role assistant, so there is no answer to learn")
    return Conversation(tuple(messages), {"tools": value["tools"]} if value.get("tools") else {})


def _pair(where: str, value: dict[str, Any]) -> list[Message]:
    answers = [value[name] for name in ANSWERS if name in value]
    if not isinstance(value.get("prompt"), str) or len(answers) != 1 or not isinstance(answers[0], str):
        raise OpenbookError(f"{where}: should have messages, or the texts prompt and answer")
    return [{"role": "user", "content": value["prompt"]}, {"role": "assistant", "content": answers[0]}]


def answer_tokens(chat: ChatTokenizer, conversation: Conversation) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation, and for each whether it belongs to an answer, end of the answer included.

    An answer is what the template writes for a message of the assistant behind the text that asks for it. Answers that
    it writes otherwise once others follow (some leave out what was thought aloud) are not among those to learn.

    Raises:
        OpenbookError: no answer is written so, or as `ChatTemplate.render`.
    """
    messages = list(conversation.messages)
    text, marked = chat.render(messages, add_generation_prompt=False, **conversation.variables)
    spans = []
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            asking, _ = chat.render(messages[:number], add_generation_prompt=True, **conversation.variables)
            answered, _ = chat.render(messages[: number + 1], add_generation_prompt=False, **conversation.variables)
            if text.startswith(answered) and answered.startswith(asking):
                spans.append((len(asking), len(asking) + len(_to_the_end(chat, answered[len(asking) :]))))
    if not spans:
        raise OpenbookError("the chat template does not write answers behind the text that asks for them")
    ids, starts = (
        chat.tokenizer.escaping.encode_with_starts(text) if marked else chat.tokenizer.encode_with_starts(text)
    )
    return ids, _within(starts, spans)


def _to_the_end(chat: ChatTokenizer, answer: str) -> str:
    """The answer up to the token that ends it; line ends behind that are the template's."""
    ends = [chat.tokenizer.token_bytes(number).decode() for number in chat.tokenizer.special.end]
    place = max(answer.rfind(end) + len(end) if end in answer else 0 for end in ends)
    return answer[:place] if place and not answer[place:].strip() else answer


def _within(starts: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """For each place whether it is in one of the spans, which are in order and apart."""
    inside, left = [], list(spans)
    for start in starts:
        while left and start >= left[0][1]:
            left.pop(0)
        inside.append(bool(left) and start >= left[0][0])
    return inside
