"""The fields of a protocol buffer, read without trusting it, and written (protobuf.dev, "Encoding").

A message is a row of fields: a key (number of the field, kind of its value), then the value. Each step moves on by at
least a byte and within the message, so the cost is bounded by its length whatever it says.
"""

import struct
from collections.abc import Iterable, Iterator

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


def written(fields: Iterable[tuple[int, int | float | bytes]]) -> bytes:
    """A message of these fields, that `fields` reads: whole numbers, floats of 32 bits, and bytes."""
    return b"".join(_field(number, value) for number, value in fields)


def _field(number: int, value: int | float | bytes) -> bytes:
    if isinstance(value, bytes):
        return _digits(number << 3 | _BYTES) + _digits(len(value)) + value
    if isinstance(value, float):
        return _digits(number << 3 | _FIXED32) + struct.pack("<f", value)
    return _digits(number << 3 | _VARINT) + _digits(value & (1 << 64) - 1)


def _digits(value: int) -> bytes:
    """The digits of a number to base 128, the lowest first; all but the last with their highest bit set."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
