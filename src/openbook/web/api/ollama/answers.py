"""A generation as Ollama's answers: one JSON object a line."""

import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from openbook.web.serve.choices import Delta, TokenInfo
from openbook.web.serve.generation import Generation, Result, Usage
from openbook.web.serve.json_bytes import json_line
from openbook.web.serve.tool_calls import ToolCall

DONE_REASONS = {"end": "stop", "stop": "stop", "tool_calls": "stop"}


@dataclass(frozen=True)
class Style:
    """What differs between chat and generate.

    Attributes:
        text: puts a text and tool calls into an object.
        logprobs: whether the request asked for log-probabilities.
    """

    text: Callable[[str, Sequence[ToolCall]], dict[str, Any]]
    logprobs: bool


class Clock:
    """Measures what the last line of an answer says about time, in nanoseconds."""

    def __init__(self) -> None:
        self._start = time.monotonic_ns()
        self._begun = self._first = self._start

    def begun(self) -> None:
        """The model is loaded and the request accepted."""
        self._begun = self._first = time.monotonic_ns()

    def token(self) -> None:
        """Something was written."""
        if self._first == self._begun:
            self._first = time.monotonic_ns()

    def metrics(self, usage: Usage) -> dict[str, int]:
        """Counts and durations of an answer that is complete."""
        now = time.monotonic_ns()
        return {
            "total_duration": now - self._start,
            "load_duration": self._begun - self._start,
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": self._first - self._begun,
            "eval_count": usage.completion_tokens,
            "eval_duration": now - self._first,
        }


def chat_text(text: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    """A message of the assistant."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    return {"message": message | ({"tool_calls": [_call(each) for each in calls]} if calls else {})}


def generate_text(text: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    """A part of a response."""
    return {"response": text}


def whole_answer(generation: Generation, result: Result, style: Style, clock: Clock) -> dict[str, Any]:
    """The answer as one object."""
    choice = result.choices[0]
    answer = beginning(generation.model.id) | style.text(choice.text, choice.tool_calls)
    if style.logprobs:
        answer["logprobs"] = [_logprob(each) for each in choice.tokens]
    return answer | _end(choice.finish_reason) | clock.metrics(result.usage)


async def lines(generation: Generation, style: Style, clock: Clock) -> AsyncIterator[bytes]:
    """The answer as lines: parts of its text, then one with the reason and the counts."""
    name, reason = generation.model.id, ""
    async for delta in generation:
        clock.token()
        part = _part(delta, style)
        if part is not None:
            yield json_line(beginning(name) | part | {"done": False})
        reason = delta.finish_reason or reason
    end = style.text("", ()) | _end(reason) | clock.metrics(generation.usage)
    yield json_line(beginning(name) | end)


def beginning(name: str) -> dict[str, Any]:
    """What every line begins with."""
    return {"model": name, "created_at": timestamp(time.time())}


def timestamp(moment: float) -> str:
    """A moment as their clients read it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _part(delta: Delta, style: Style) -> dict[str, Any] | None:
    calls = [] if delta.tool_call is None else [delta.tool_call]
    if not (delta.text or calls or (style.logprobs and delta.tokens)):
        return None
    part = style.text(delta.text, calls)
    return part | ({"logprobs": [_logprob(each) for each in delta.tokens]} if style.logprobs else {})


def _end(reason: str) -> dict[str, Any]:
    return {"done": True, "done_reason": DONE_REASONS.get(reason, reason)}


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"index": call.index, "name": call.name, "arguments": json.loads(call.arguments)}
    return {"id": call.id, "function": function}


def _logprob(token: TokenInfo) -> dict[str, Any]:
    top = [_probable(each.text, each.bytes, each.log_probability) for each in token.top]
    return _probable(token.text, token.bytes, token.log_probability) | ({"top_logprobs": top} if top else {})


def _probable(text: str, spelled: bytes, log_probability: float | None) -> dict[str, Any]:
    return {"token": text, "logprob": log_probability, "bytes": list(spelled)}
