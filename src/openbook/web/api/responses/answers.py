"""A generation as a response object, whole or as the events of a stream."""

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from openbook.generation.settings import Sampling
from openbook.web.api.responses.bodies import ResponsesBody
from openbook.web.api.responses.translation import wants_logprobs
from openbook.web.serve.choices import Delta, TokenInfo
from openbook.web.serve.generation import Generation, Result, Usage
from openbook.web.serve.json_bytes import sse
from openbook.web.serve.tool_calls import ToolCall

INCOMPLETE = {"length": "max_output_tokens"}
"""Reasons for which an answer is not complete, in their words."""

ECHOED = ("instructions", "max_output_tokens", "safety_identifier", "prompt_cache_key", "user")


def response(
    body: ResponsesBody,
    generation: Generation,
    output: Sequence[dict[str, Any]] = (),
    usage: Usage | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """The response object.

    Args:
        body: the request, whose settings it repeats.
        generation: that answers it.
        output: its items so far.
        usage: at the end.
        reason: why the answer ended; None while it goes on.
    """
    incomplete = INCOMPLETE.get(reason or "")
    status = "in_progress" if reason is None else "incomplete" if incomplete else "completed"
    decoding = generation.decoding
    sampling = decoding if isinstance(decoding, Sampling) else Sampling(temperature=0.0)
    return {
        "id": f"resp_{generation.id}",
        "object": "response",
        "created_at": generation.created,
        "completed_at": int(time.time()) if status == "completed" else None,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "model": generation.model.id,
        "output": list(output),
        "usage": None if usage is None else _usage(usage),
        **{name: getattr(body, name) for name in ECHOED},
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "tool_choice": _plain(body.tool_choice) or "auto",
        "tools": [_tool(_plain(tool)) for tool in body.tools or ()],
        "text": {"format": {"type": "text"}, **(_plain(body.text) or {})},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "top_logprobs": body.top_logprobs or 0,
        "reasoning": {"effort": None, "summary": None},
        "truncation": "disabled",
        "store": False,
        "background": False,
        "service_tier": "default",
        "previous_response_id": None,
        "max_tool_calls": None,
    }


def whole_response(body: ResponsesBody, generation: Generation, result: Result) -> dict[str, Any]:
    """The answer as one object."""
    choice = result.choices[0]
    items = Items(generation.id, wants_logprobs(body))
    done = "incomplete" if choice.finish_reason in INCOMPLETE else "completed"
    output = [items.message(choice.text, choice.tokens, done)] if choice.text or not choice.tool_calls else []
    output += [items.call(call) for call in choice.tool_calls]
    return response(body, generation, output, result.usage, choice.finish_reason)


async def events(body: ResponsesBody, generation: Generation) -> AsyncIterator[bytes]:
    """The events of a stream, in their order, numbered."""
    written = Events(generation.id, wants_logprobs(body))
    started = response(body, generation)
    yield written.event("response.created", response=started)
    yield written.event("response.in_progress", response=started)
    reason = ""
    async for delta in generation:
        for event in written.of(delta):
            yield event
        reason = delta.finish_reason or reason
    for event in written.end("incomplete" if reason in INCOMPLETE else "completed"):
        yield event
    ended = response(body, generation, written.output, generation.usage, reason)
    yield written.event(f"response.{ended['status']}", response=ended)
    yield b"data: [DONE]\n\n"


class Items:
    """Makes the items of an answer, with ids that count on."""

    def __init__(self, generation_id: str, logprobs: bool) -> None:
        self._id, self._logprobs, self._count = generation_id, logprobs, 0

    def new_id(self, kind: str) -> str:
        """An id that no other item has; kind is msg or fc."""
        self._count += 1
        return f"{kind}_{self._id}{self._count - 1:02d}"

    def message(self, text: str, tokens: Sequence[TokenInfo], status: str, name: str | None = None) -> dict[str, Any]:
        """An item that is text; without `name` it gets an id."""
        content = [self.part(text, tokens)]
        return {"id": name or self.new_id("msg"), "type": "message", "status": status} | _assistant(content)

    def part(self, text: str, tokens: Sequence[TokenInfo]) -> dict[str, Any]:
        """The text of a message."""
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": self.logprobs(tokens)}

    def call(self, call: ToolCall, name: str | None = None, status: str = "completed") -> dict[str, Any]:
        """An item that calls a function."""
        named = {"call_id": call.id, "name": call.name, "arguments": call.arguments if status == "completed" else ""}
        return {"id": name or self.new_id("fc"), "type": "function_call", "status": status, **named}

    def logprobs(self, tokens: Sequence[TokenInfo]) -> list[dict[str, Any]]:
        """The log-probabilities of tokens, if they were asked for."""
        return [_logprob(token) for token in tokens] if self._logprobs else []


class Events(Items):
    """The events of a streamed answer: items one after the other, each opened, filled and closed.

    Attributes:
        output: the items that are closed.
    """

    def __init__(self, generation_id: str, logprobs: bool) -> None:
        super().__init__(generation_id, logprobs)
        self.output: list[dict[str, Any]] = []
        self._number, self._open = 0, ""
        self._text: list[str] = []
        self._tokens: list[TokenInfo] = []
        self._waiting: list[TokenInfo] = []  # whose text is not complete

    def event(self, name: str, /, **fields: Any) -> bytes:
        """An event with the next number."""
        self._number += 1
        return sse({"type": name, "sequence_number": self._number - 1, **fields}, event=name)

    def of(self, delta: Delta) -> list[bytes]:
        """The events of one delta."""
        found = []
        self._waiting += delta.tokens
        if delta.text:
            found += self._begin_message()
            found.append(self._write(delta.text))
        if delta.tool_call is not None:
            found += self._close_message("completed") + self._call(delta.tool_call)
        return found

    def end(self, status: str) -> list[bytes]:
        """What closes the last item; an answer without any has an empty text."""
        begun = [] if self._open or self.output else self._begin_message()
        return begun + self._close_message(status)

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._open, "output_index": len(self.output), "content_index": 0}

    def _begin_message(self) -> list[bytes]:
        if self._open:
            return []
        self._open, self._text, self._tokens = self.new_id("msg"), [], []
        item = {"id": self._open, "type": "message", "status": "in_progress"} | _assistant([])
        added = self.event("response.output_item.added", output_index=len(self.output), item=item)
        return [added, self.event("response.content_part.added", **self._place, part=self.part("", []))]

    def _write(self, text: str) -> bytes:
        waiting, self._waiting = self._waiting, []
        self._text.append(text)
        self._tokens += waiting
        return self.event("response.output_text.delta", **self._place, delta=text, logprobs=self.logprobs(waiting))

    def _close_message(self, status: str) -> list[bytes]:
        if not self._open:
            return []
        text, part = "".join(self._text), self.part("".join(self._text), self._tokens)
        found = [
            self.event("response.output_text.done", **self._place, text=text, logprobs=part["logprobs"]),
            self.event("response.content_part.done", **self._place, part=part),
        ]
        item = self.message(text, self._tokens, status, self._open)
        found.append(self.event("response.output_item.done", output_index=len(self.output), item=item))
        self.output.append(item)
        self._open = ""
        return found

    def _call(self, call: ToolCall) -> list[bytes]:
        name, index = self.new_id("fc"), len(self.output)
        place, item = {"item_id": name, "output_index": index}, self.call(call, name)
        begun = self.call(call, name, "in_progress")
        self.output.append(item)
        return [
            self.event("response.output_item.added", output_index=index, item=begun),
            self.event("response.function_call_arguments.delta", **place, delta=call.arguments),
            self.event("response.function_call_arguments.done", **place, name=call.name, arguments=call.arguments),
            self.event("response.output_item.done", output_index=index, item=item),
        ]


def _assistant(content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def _logprob(token: TokenInfo) -> dict[str, Any]:
    top = [_probable(each.text, each.bytes, each.log_probability) for each in token.top]
    return _probable(token.text, token.bytes, token.log_probability) | {"top_logprobs": top}


def _probable(text: str, spelled: bytes, log_probability: float | None) -> dict[str, Any]:
    return {"token": text, "logprob": log_probability, "bytes": list(spelled)}


def _usage(counts: Usage) -> dict[str, Any]:
    return {
        "input_tokens": counts.prompt_tokens,
        "input_tokens_details": {"cached_tokens": counts.cached_tokens},
        "output_tokens": counts.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counts.prompt_tokens + counts.completion_tokens,
    }


def _plain(value: Any) -> Any:
    """A part of the request as it came."""
    return value.model_dump(by_alias=True, exclude_none=True) if hasattr(value, "model_dump") else value


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    return {"description": None, "parameters": None, "strict": None} | tool
