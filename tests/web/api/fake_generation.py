"""A generation that is written down beforehand, for what turns generations into answers."""

import asyncio
import json
from types import SimpleNamespace

from hypothesis import strategies as st

from openbook.generation.settings import Sampling
from openbook.web.serve.choices import Delta
from openbook.web.serve.generation import Choice, Result, Usage
from openbook.web.serve.tool_calls import ToolCall


class Generation:
    """What the shapes need of one."""

    def __init__(self, deltas, *, prompt=7, cached=0):
        self.id, self.created, self.model = "abc", 1_700_000_000, SimpleNamespace(id="tiny")
        self.prompt_counts = [prompt]
        self.deltas = deltas
        self.usage = Usage(prompt, sum(len(each.tokens) or bool(each.text) for each in deltas), cached)
        self.decoding = Sampling(temperature=0.5, top_p=0.9)

    async def __aiter__(self):
        for delta in self.deltas:
            yield delta

    def result(self):
        """The same as one result."""
        choice = Choice(0)
        for delta in self.deltas:
            choice.add(delta)
        return Result([choice], self.usage)


def collected(chunks):
    """All bytes of a stream."""

    async def collect():
        return b"".join([chunk async for chunk in chunks])

    return asyncio.run(collect())


def events_of(stream):
    """Names and data of server-sent events, as clients split them; [DONE] is None."""
    found = []
    for block in stream.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        if lines:
            data = lines["data"]
            found.append((lines.get("event"), None if data == "[DONE]" else json.loads(data)))
    return found


def call(number, name="weather", arguments='{"city":"Ulm"}'):
    """A call of a tool."""
    return ToolCall(number, f"call_{number}", name, arguments)


@st.composite
def generations(draw):
    """Texts and calls in any order, and a reason that fits."""
    deltas, calls = [], 0
    for is_call in draw(st.lists(st.booleans(), max_size=6)):
        if is_call:
            deltas.append(Delta(0, tool_call=call(calls)))
            calls += 1
        else:
            deltas.append(Delta(0, draw(st.text(max_size=5))))
    reason = draw(st.sampled_from(["tool_calls"] if calls else ["end", "length", "stop"]))
    deltas.append(Delta(0, finish_reason=reason, stop_sequence="END" if reason == "stop" else None))
    return Generation(deltas, cached=draw(st.integers(0, 6)))
