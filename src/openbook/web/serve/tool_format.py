"""Calls of tools: how a chat template writes them is learned from the template itself, and so they are read back.

A conversation with a call in it is rendered once. Where the JSON of the call stands, what is before and after it, and
under which keys it has the name and the arguments is how the model was taught to write calls.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openbook.errors import OpenbookError
from openbook.text.chat.chat_tokenizer import ChatTokenizer

NAME, VALUE = "probe_function", "probe-value-7391"
ARGUMENTS = {"probe_key": VALUE}
TOOL = {
    "type": "function",
    "function": {
        "name": NAME,
        "description": "Nothing.",
        "parameters": {"type": "object", "properties": {"probe_key": {"type": "string"}}, "required": ["probe_key"]},
    },
}
CALL = {"type": "function", "id": "call00000", "function": {"name": NAME, "arguments": ARGUMENTS}}
USER = {"role": "user", "content": "probe"}


@dataclass(frozen=True)
class ToolFormat:
    """How calls are written.

    Attributes:
        opening: the text before a call; empty if an answer that is a call has nothing else.
        closing: the text after it.
        name_key, arguments_key: of the call's JSON object.
        in_list: whether calls stand in a JSON list, even a single one.
    """

    opening: str
    closing: str
    name_key: str
    arguments_key: str
    in_list: bool = False

    def call_schema(self, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """A JSON Schema of a call of one of these tools."""
        calls = [self._one_schema(tool["function"]) for tool in tools]
        schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
        return {"type": "array", "items": schema, "minItems": 1} if self.in_list else schema

    def _one_schema(self, function: Mapping[str, Any]) -> dict[str, Any]:
        parameters = function.get("parameters") or {"type": "object", "properties": {}}
        return {
            "type": "object",
            "properties": {self.name_key: {"const": function["name"]}, self.arguments_key: parameters},
            "required": [self.name_key, self.arguments_key],
            "additionalProperties": False,
        }

    def calls_in(self, value: Any, names: frozenset[str]) -> list[tuple[str, Any]] | None:
        """The names and arguments in the JSON of a call; None if it is none."""
        calls = value if isinstance(value, list) else [value]
        found = []
        for call in calls:
            if not isinstance(call, dict) or call.get(self.name_key) not in names:
                return None
            found.append((call[self.name_key], call.get(self.arguments_key, {})))
        return found or None


def tool_format(chat: ChatTokenizer) -> ToolFormat | None:
    """How a model's chat template writes calls; None if it takes no tools, or writes calls in no JSON object."""
    try:
        asked, _ = chat.render([USER], tools=[TOOL])
        if NAME not in asked:
            return None
        said = {"role": "assistant", "content": "", "tool_calls": [CALL]}
        written, _ = chat.render([USER, said], tools=[TOOL], add_generation_prompt=False)
    except OpenbookError:
        return None
    shared = len(asked) if written.startswith(asked) else _common_length(asked, written)
    return _learn(written, shared, chat.tokenizer.special_ids)


def _learn(written: str, start: int, special: Mapping[str, int]) -> ToolFormat | None:
    """The format of the call in a text, which begins after `start`."""
    decoder = json.JSONDecoder()
    for place in (i for i in range(start, len(written)) if written[i] in "[{"):
        try:
            value, end = decoder.raw_decode(written, place)
        except ValueError:
            continue
        call = value[0] if isinstance(value, list) and len(value) == 1 else value
        if not isinstance(call, dict) or NAME not in call.values():
            continue
        arguments = next((key for key, each in call.items() if each in (ARGUMENTS, json.dumps(ARGUMENTS))), None)
        if arguments is None:
            continue
        name = next(key for key, each in call.items() if each == NAME)
        closing = written[end:]
        for token in special:
            closing = closing.partition(token)[0]
        return ToolFormat(written[start:place].lstrip(), closing.rstrip(), name, arguments, isinstance(value, list))
    return None


def _common_length(one: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
