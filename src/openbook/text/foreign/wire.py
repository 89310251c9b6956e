"""The fields of a protocol buffer, read without trusting it (protobuf.dev, "Encoding").

A message is a row of fields: a key (number of the field, kind of its value), then the value. Each step moves on by at
least a byte and within the message, so the cost is bounded by its length whatever it says.
"""

import struct
from collections.abc import Iterator

from openbook.errors import OpenbookError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10

Value = int | float | memoryview


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of each field: a whole number, a float of 32 bits, or bytes (of text, or a message within).

    Raises OpenbookError where the message is none.
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == _BYTES:
            length, place = _varint(message, place)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise OpenbookError(f"field {number} at byte {place:,} has the unknown kind {kind}")
        if length > len(message) - place:
            raise OpenbookError(f"field {number} should have {length:,} bytes, {len(message) - place:,} are left")
        content = message[place : place + length]
        place += length
        yield number, struct.unpack("<f", content)[0] if kind == _FIXED32 else content


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """The number whose digits to base 128 begin at `place`, the lowest first, and the place behind it."""
    value = 0
    for shift, byte in enumerate(message[place : place + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, place + shift + 1
    raise OpenbookError(f"a number at byte {place:,} does not end")
