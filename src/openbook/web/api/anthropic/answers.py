"""A generation as Anthropic's message, whole or as the events of a stream."""

from collections.abc import AsyncIterator
from typing import Any

from openbook.web.api.anthropic.translation import tool_use
from openbook.web.serve.choices import Delta
from openbook.web.serve.generation import Generation, Result, Usage
from openbook.web.serve.json_bytes import sse
from openbook.web.serve.tool_calls import ToolCall

STOP_REASONS = {"end": "end_turn", "stop": "stop_sequence", "tool_calls": "tool_use"}


def message(generation: Generation, result: Result, max_tokens: int) -> dict[str, Any]:
    """The answer as one object."""
    choice = result.choices[0]
    content = [{"type": "text", "text": choice.text}] if choice.text or not choice.tool_calls else []
    content += [tool_use(call.id, call.name, call.arguments) for call in choice.tool_calls]
    reason = stop_reason(choice.finish_reason, result.usage.completion_tokens, max_tokens)
    ended = {"stop_reason": reason, "stop_sequence": choice.stop_sequence}
    return _beginning(generation) | {"content": content, "usage": usage(result.usage)} | ended


def stop_reason(reason: str, tokens: int, max_tokens: int) -> str:
    """Why an answer ended, in Anthropic's words; `length` is the limit of the request, or the model's context."""
    if reason == "length":
        return "max_tokens" if tokens >= max_tokens else "model_context_window_exceeded"
    return STOP_REASONS[reason]


def usage(counts: Usage) -> dict[str, Any]:
    """Their input tokens leave out those that a cache had."""
    return {
        "input_tokens": counts.prompt_tokens - counts.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": counts.cached_tokens,
        "output_tokens": counts.completion_tokens,
        "service_tier": "standard",
    }


async def events(generation: Generation, max_tokens: int) -> AsyncIterator[bytes]:
    """The events of a stream, in the order that clients rely on."""
    counted = Usage(prompt_tokens=sum(generation.prompt_counts), completion_tokens=0, cached_tokens=0)
    start = _beginning(generation) | {"content": [], "stop_reason": None, "stop_sequence": None}
    yield _event("message_start", message=start | {"usage": usage(counted)})
    blocks, last = Blocks(), None
    async for delta in generation:
        for event in blocks.events(delta):
            yield event
        last = delta if delta.finish_reason is not None else last
    assert last is not None and last.finish_reason is not None, "a generation ends with a reason"
    for event in blocks.end():
        yield event
    reason = stop_reason(last.finish_reason, generation.usage.completion_tokens, max_tokens)
    ended = {"stop_reason": reason, "stop_sequence": last.stop_sequence}
    yield _event("message_delta", delta=ended, usage=usage(generation.usage))
    yield _event("message_stop")


class Blocks:
    """The blocks of a streamed message: texts and tool calls one after the other, numbered from 0."""

    def __init__(self) -> None:
        self._index, self._open = -1, False

    def events(self, delta: Delta) -> list[bytes]:
        """The events of one delta."""
        found = []
        if delta.text:
            if not self._open:
                found.append(self._start({"type": "text", "text": ""}))
            found.append(self._delta({"type": "text_delta", "text": delta.text}))
        if delta.tool_call is not None:
            found += self._call(delta.tool_call)
        return found

    def end(self) -> list[bytes]:
        """What closes the last block; an answer without any has an empty text."""
        found = [self._start({"type": "text", "text": ""})] if self._index < 0 else []
        return found + self._close()

    def _call(self, call: ToolCall) -> list[bytes]:
        block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        begun = [*self._close(), self._start(block)]
        return [*begun, self._delta({"type": "input_json_delta", "partial_json": call.arguments}), *self._close()]

    def _start(self, block: dict[str, Any]) -> bytes:
        self._index, self._open = self._index + 1, True
        return _event("content_block_start", index=self._index, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> list[bytes]:
        was_open, self._open = self._open, False
        return [_event("content_block_stop", index=self._index)] if was_open else []


def _beginning(generation: Generation) -> dict[str, Any]:
    name = generation.model.id
    return {"id": f"msg_{generation.id}", "type": "message", "role": "assistant", "model": name}


def _event(name: str, /, **fields: Any) -> bytes:
    return sse({"type": name, **fields}, event=name)
