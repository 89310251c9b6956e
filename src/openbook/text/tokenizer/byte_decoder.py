"""Tokens → the bytes that they stand for, as the decoder in a tokenizer.json says."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import tokenizers

from openbook.errors import OpenbookError
from openbook.text.tokenizer.byte_level import BYTE_OF_CHARACTER

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""A token that stands for one byte, where a vocabulary falls back to bytes."""


@dataclass
class ByteDecoder:
    """Token → bytes. A text that begins with `leading_space` loses it: encoding put it there."""

    leading_space: bytes = b""
    _replacements: list[tuple[str, str]] = field(default_factory=list)
    _to_bytes: Callable[[str], bytes] = str.encode

    @classmethod
    def of(cls, backend: tokenizers.Tokenizer) -> "ByteDecoder":
        """The decoder of a tokenizer.

        Raises:
            OpenbookError: it is of an unsupported kind.
        """
        decoder = cls()
        if backend.decoder is None and isinstance(backend.model, tokenizers.models.WordLevel):
            decoder.leading_space, decoder._to_bytes = b" ", _word  # as the library joins them
            return decoder
        for step in _steps(_state(backend)):
            decoder._add(step)
        return decoder

    def __call__(self, token: str) -> bytes:
        """The bytes that a token stands for."""
        for old, new in self._replacements:
            token = token.replace(old, new)
        return self._to_bytes(token)

    def _add(self, step: dict[str, Any]) -> None:
        match step:
            case {"type": "ByteLevel"}:
                self._to_bytes = _byte_level
            case {"type": "ByteFallback"}:
                self._to_bytes = _byte_fallback
            case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)}:
                self._replacements.append((old, new))
            case {"type": "Metaspace", "replacement": str(mark)}:
                self._replacements.append((mark, " "))
                self.leading_space = b"" if step.get("prepend_scheme") == "never" else b" "
            case {"type": "Strip", "content": str(character), "start": int(count), "stop": 0}:
                self.leading_space = character.encode() * count
            case {"type": "Fuse"}:
                pass  # bytes are joined anyway
            case _:
                known = "ByteLevel, ByteFallback, Replace of a text, Metaspace, Strip at the start and Fuse"
                raise OpenbookError(f"tokenizer: its decoder {step.get('type')} is not supported; only {known} are")


def _state(backend: tokenizers.Tokenizer) -> dict[str, Any]:
    if backend.decoder is None:
        cure = "set the decoder that undoes its pre-tokenizer, and save it again"
        raise OpenbookError(f"tokenizer: has no decoder, so its tokens cannot become text; {cure}")
    state: dict[str, Any] = json.loads(backend.decoder.__getstate__())
    return state


def _steps(decoder: dict[str, Any]) -> list[dict[str, Any]]:
    if decoder.get("type") == "Sequence":
        return [step for each in decoder["decoders"] for step in _steps(each)]
    return [decoder]


def _word(token: str) -> bytes:
    return b" " + token.encode()


def _byte_level(token: str) -> bytes:
    try:
        return bytes(BYTE_OF_CHARACTER[character] for character in token)
    except KeyError:
        return token.encode()  # a token from outside the alphabet stands for its own text


def _byte_fallback(token: str) -> bytes:
    byte = BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.encode()
