"""Reading calls of tools out of an answer as it comes."""

import enum
import json
import secrets
from dataclasses import dataclass

from openbook.web.serve.tool_format import ToolFormat


@dataclass(frozen=True)
class ToolCall:
    """A call that the model asks for.

    Attributes:
        index: its number in the answer.
        id: by which the client's answer names it.
        name: of the tool.
        arguments: JSON.
    """

    index: int
    id: str
    name: str
    arguments: str


class _State(enum.Enum):
    BEGINNING = enum.auto()
    """Of an answer that is a call and nothing else, or none at all."""
    TEXT = enum.auto()
    CALL = enum.auto()
    CLOSING = enum.auto()
    PLAIN = enum.auto()
    """Text to the end."""


class ToolCallReader:
    """Passes text on, but for calls, and what may become one."""

    def __init__(self, written: ToolFormat, names: frozenset[str], *, several: bool = True) -> None:
        """Args:
        written: how the model writes calls.
        names: of the tools that there are.
        several: whether more than one call is wanted; what follows the first is dropped otherwise.
        """
        self._format, self._names, self._several = written, names, several
        self._opening, self._closing = written.opening.strip(), written.closing.strip()
        self._state = _State.TEXT if self._opening else _State.BEGINNING
        self._held = ""
        self.count = 0

    def feed(self, text: str) -> tuple[str, list[ToolCall]]:
        """Take more text; return what is known to be no call, and the calls that are complete."""
        self._held += text
        passed: list[str] = []
        calls: list[ToolCall] = []
        while self._advance(passed, calls):
            pass
        return "".join(passed), calls

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        if self._state is _State.CLOSING:
            return ""
        return self._wanted(self._opening + held if self._state is _State.CALL else held)

    def _advance(self, passed: list[str], calls: list[ToolCall]) -> bool:
        """One move through what is held; False when it needs more text."""
        if self.count and not self._several:
            self._held = ""
            return False
        match self._state:
            case _State.BEGINNING:
                begin = self._held.lstrip()[:1]
                self._state = _State.CALL if begin == ("[" if self._format.in_list else "{") else _State.PLAIN
                if not begin:
                    self._state = _State.BEGINNING
                return bool(begin)
            case _State.TEXT:
                before, opening, after = self._held.partition(self._opening)
                if opening:
                    self._held, self._state = after, _State.CALL
                    passed.append(self._wanted(before))
                    return True
                known = len(self._held) - self._partial_length()
                passed.append(self._wanted(self._held[:known]))
                self._held = self._held[known:]
            case _State.CALL:
                found = self._complete_calls()
                calls += found
                self._state = _State.CLOSING if found else _State.CALL
                return bool(found)
            case _State.CLOSING:
                text = self._held.lstrip()
                if not text.startswith(self._closing) and self._closing.startswith(text):
                    return False
                self._held = text.removeprefix(self._closing)
                self._state = _State.TEXT if self._opening else _State.PLAIN
                return True
            case _State.PLAIN:
                passed.append(self._wanted(self._held))
                self._held = ""
        return False

    def _complete_calls(self) -> list[ToolCall]:
        """The calls at the beginning of what is held, which they leave; none as long as they are not complete."""
        text = self._held.lstrip()
        try:
            value, end = json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            return []
        found = self._format.calls_in(value, self._names)
        if found is None:
            return []
        self._held = text[end:]
        calls = []
        for name, arguments in found if self._several else found[:1]:
            written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
            calls.append(ToolCall(self.count, f"call_{secrets.token_hex(12)}", name, written))
            self.count += 1
        return calls

    def _wanted(self, text: str) -> str:
        """Blanks between calls are part of how they are written."""
        return "" if self.count and not text.strip() else text

    def _partial_length(self) -> int:
        """Length of the longest end of the held text that begins the opening."""
        longest = min(len(self._held), len(self._opening) - 1)
        return next((n for n in range(longest, 0, -1) if self._opening.startswith(self._held[-n:])), 0)
