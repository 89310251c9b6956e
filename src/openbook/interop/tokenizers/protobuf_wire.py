"""The wire format of protocol buffers, for untrusted messages (protobuf.dev, "Encoding").

A message is a sequence of fields: a key (field number and wire type), then the value. Each step reads at least a byte
and stays within the message, so the cost is bounded by the length, whatever the message says.
"""

import struct
from collections.abc import Iterable, Iterator

from openbook.errors import OpenbookError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAXIMUM_VARINT = 10
_FLOAT = struct.Struct("<f")

Value = int | float | bytes


def read_fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of each field: an integer, a 32-bit float, or bytes (text, or a message).

    Raises:
        OpenbookError: the message is damaged.
    """
    offset, length = 0, len(message)
    while offset < length:
        key, offset = _read_varint(message, offset)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, offset = _read_varint(message, offset)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, offset = _read_varint(message, offset)
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise OpenbookError(f"field {number} at byte {offset:,} has the unknown kind {wire_type}")
        if size > length - offset:
            raise OpenbookError(f"field {number} should have {size:,} bytes, {length - offset:,} are left")
        content = message[offset : offset + size]
        offset += size
        yield number, _FLOAT.unpack(content)[0] if wire_type == _FIXED32 else content


def _read_varint(message: bytes, offset: int) -> tuple[int, int]:
    """The integer at `offset`, in base 128 with the lowest digit first, and the offset behind it."""
    if offset < len(message) and message[offset] < 0x80:  # a single digit, as most are
        return message[offset], offset + 1
    value = 0
    for index, byte in enumerate(message[offset : offset + _MAXIMUM_VARINT]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, offset + index + 1
    raise OpenbookError(f"a number at byte {offset:,} does not end")


def write_fields(fields: Iterable[tuple[int, Value]]) -> bytes:
    """The message that `read_fields` reads: integers, 32-bit floats, and bytes."""
    return b"".join(_write_field(number, value) for number, value in fields)


def _write_field(number: int, value: Value) -> bytes:
    if isinstance(value, bytes):
        return _write_varint(number << 3 | _BYTES) + _write_varint(len(value)) + value
    if isinstance(value, float):
        return _write_varint(number << 3 | _FIXED32) + _FLOAT.pack(value)
    return _write_varint(number << 3 | _VARINT) + _write_varint(value & (1 << 64) - 1)


def _write_varint(value: int) -> bytes:
    """An integer in base 128, the lowest digit first; all digits but the last have their highest bit set."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
