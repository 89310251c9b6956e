"""Conversations as chat templates read them: what several shapes of the API translate theirs into."""

from collections.abc import Iterable, Mapping
from typing import Any

Turn = dict[str, Any]
"""`role` and `content`, and for some roles `tool_calls` or `tool_call_id`."""


def joined(turns: Iterable[Turn]) -> list[Turn]:
    """The turns, where those that follow each other from one side are one, as templates expect."""
    found: list[Turn] = []
    for turn in turns:
        last = found[-1] if found else None
        same = last is not None and last["role"] == turn["role"] != "tool"
        if last is not None and same and ("tool_calls" in turn or "tool_calls" not in last):
            texts = [text for text in (last["content"], turn["content"]) if text]
            calls = [*last.get("tool_calls", ()), *turn.get("tool_calls", ())]
            found[-1] = {**last, **turn, "content": "\n\n".join(texts)} | ({"tool_calls": calls} if calls else {})
        else:
            found.append(turn)
    return found


def call_turn(calls: Iterable[tuple[str, str, Mapping[str, Any]]], content: str = "") -> Turn:
    """A turn in which the model calls tools: each by its id, name and arguments."""
    listed = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in calls
    ]
    return {"role": "assistant", "content": content, "tool_calls": listed}


def tool(
    name: str, description: str | None, parameters: Mapping[str, Any] | None, strict: bool | None = None
) -> dict[str, Any]:
    """A tool that may be called; without parameters it takes none."""
    schema = parameters or {"type": "object", "properties": {}}
    function = {"name": name, "description": description or "", "parameters": schema}
    return {"type": "function", "function": function | ({"strict": True} if strict else {})}
