"""How the tokens of a vocabulary spell bytes; the decoder in a tokenizer.json says it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import tokenizers

from openbook.errors import OpenbookError

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_of_character() -> dict[str, int]:
    """The byte that each character of the byte-level alphabet stands for: itself, or the next of those left over."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    itself = {character: ord(character) for character in alphabet if ord(character) < 256}
    left_over = sorted(set(range(256)) - set(itself.values()))
    return itself | dict(zip(alphabet[len(itself) :], left_over, strict=True))


BYTE_OF_CHARACTER = _byte_of_character()


@dataclass
class Spelling:
    """Token → bytes. `leading` is taken off where a text begins with it: a space that encoding put there."""

    leading: bytes = b""
    _replaced: list[tuple[str, str]] = field(default_factory=list)
    _as_bytes: Callable[[str], bytes] = str.encode

    @classmethod
    def of(cls, backend: tokenizers.Tokenizer) -> "Spelling":
        """That of a tokenizer. Raises OpenbookError where its decoder is of a kind that is not known here."""
        spelling = cls()
        for step in _steps(_state(backend)):
            spelling._add(step)
        return spelling

    def __call__(self, token: str) -> bytes:
        """The bytes that a token stands for."""
        for old, new in self._replaced:
            token = token.replace(old, new)
        return self._as_bytes(token)

    def _add(self, step: dict[str, Any]) -> None:
        match step:
            case {"type": "ByteLevel"}:
                self._as_bytes = _byte_level
            case {"type": "ByteFallback"}:
                self._as_bytes = _or_byte
            case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)}:
                self._replaced.append((old, new))
            case {"type": "Metaspace", "replacement": str(mark)}:
                self._replaced.append((mark, " "))
                self.leading = b"" if step.get("prepend_scheme") == "never" else b" "
            case {"type": "Strip", "content": str(character), "start": int(count), "stop": 0}:
                self.leading = character.encode() * count
            case {"type": "Fuse"}:
                pass  # joins what is joined here anyhow
            case _:
                kind = step.get("type")
                known = "ByteLevel, ByteFallback, Replace of a text, Metaspace, Strip at the start and Fuse"
                raise OpenbookError(f"tokenizer: its decoder {kind} is not supported; only {known} are")


def _state(backend: tokenizers.Tokenizer) -> dict[str, Any]:
    if backend.decoder is None:
        return {"type": "None"}
    state: dict[str, Any] = json.loads(backend.decoder.__getstate__())
    return state


def _steps(decoder: dict[str, Any]) -> list[dict[str, Any]]:
    if decoder.get("type") == "Sequence":
        return [step for each in decoder["decoders"] for step in _steps(each)]
    return [decoder]


def _byte_level(token: str) -> bytes:
    try:
        return bytes(BYTE_OF_CHARACTER[character] for character in token)
    except KeyError:
        return token.encode()  # a token from outside the alphabet stands for its own text


def _or_byte(token: str) -> bytes:
    found = BYTE.fullmatch(token)
    return bytes([int(found[1], 16)]) if found else token.encode()
