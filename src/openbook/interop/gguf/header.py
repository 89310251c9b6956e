"""The beginning of a GGUF file: its fields and the table of its tensors, read and checked without trusting any of it.

Little-endian: `GGUF`, version, numbers of tensors and of fields, the fields, the table, then the tensors' bytes, each
at a multiple of the alignment (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Python's integers do not
overflow, so a huge count is only a huge number. Every length is compared with what is left of the file before anything
is read. Errors name no file; the caller adds its name (`model_file.file.error_context`).
"""

import math
import mmap
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from openbook.errors import OpenbookError
from openbook.text.printable import excerpt
from openbook.text.strict_json import DAMAGED

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_FIELDS = 10_000
MAX_TENSORS = 20_000
MAX_ELEMENTS = 1 << 22
"""Of an array; the largest vocabularies have a quarter of a million tokens."""
MAX_NAME = 256
MAX_STRING = 16_000_000
MAX_DIMENSIONS = 4
MEMORY_FACTOR, MEMORY_BASE = 4, 1 << 24
"""The fields may take this many times the file's size in memory, plus this many bytes."""
STRING_BYTES, CHARACTER_BYTES, NUMBER_BYTES = 90, 6, 48
"""The most memory that Python takes for a string, for each byte of it while decoding, and for a number in a list."""

_SCALARS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class GgufTensor:
    """A tensor: its type, its shape as PyTorch orders it, and where its bytes begin and end in the file."""

    type: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class GgufHeader:
    """Fields by name (numbers, strings, lists of them), and tensors by name."""

    fields: dict[str, Any]
    tensors: dict[str, GgufTensor]


@dataclass(frozen=True)
class BlockSize:
    """How many numbers a block of a type has, and how many bytes it takes."""

    numbers: int
    bytes: int


def read_header(data: bytes | mmap.mmap, types: dict[int, tuple[str, BlockSize]]) -> GgufHeader:
    """Read and check all but the tensors' numbers.

    Args:
        data: the file.
        types: number → name and block of the types that can be read.

    Raises:
        OpenbookError: naming the field or tensor, and the cure.
    """
    reader = _Reader(data)
    if reader.take(4, "the beginning") != MAGIC:
        raise OpenbookError(f"is no GGUF file; {DAMAGED}")
    version = reader.number("<I", "the version")
    if int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS:
        cure = "turn a copy of it round with `gguf-convert-endian COPY little`, a command of the gguf package"
        raise OpenbookError(f"is a GGUF file for big-endian machines, its bytes are in the other order; {cure}")
    if version not in VERSIONS:
        cure = "convert the model again, this is an old format" if version < min(VERSIONS) else "upgrade openbook"
        raise OpenbookError(f"GGUF version {version:,} is not one of {', '.join(map(str, VERSIONS))}; {cure}")
    tensor_count, field_count = (reader.number("<Q", "the counts") for _ in range(2))
    if tensor_count > MAX_TENSORS or field_count > MAX_FIELDS:
        counts = f"{tensor_count:,} tensors and {field_count:,} fields"
        raise OpenbookError(
            f"should have {counts}, more than the {MAX_TENSORS:,} and {MAX_FIELDS:,} allowed; {DAMAGED}"
        )
    fields: dict[str, Any] = {}
    for _ in range(field_count):
        name = reader.string("a field's name", MAX_NAME)
        if name in fields:
            raise OpenbookError(f"field {excerpt(name)}: is there twice; {DAMAGED}")
        fields[name] = reader.value(reader.number("<I", name), f"field {excerpt(name, 100)}")
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise OpenbookError(f"field general.alignment: {excerpt(str(alignment))} is no power of two; {DAMAGED}")
    entries = [reader.tensor() for _ in range(tensor_count)]
    start = -(-reader.place // alignment) * alignment
    return GgufHeader(fields, _checked_tensors(entries, types, start, alignment, len(data)))


def _checked_tensors(
    entries: list[tuple[str, tuple[int, ...], int, int]],
    types: dict[int, tuple[str, BlockSize]],
    start: int,
    alignment: int,
    size: int,
) -> dict[str, GgufTensor]:
    """The tensors, each checked to be inside the file and to overlap no other."""
    tensors: dict[str, GgufTensor] = {}
    for name, shape, kind, offset in entries:
        where = f"tensor {excerpt(name, 100)}"
        if name in tensors:
            raise OpenbookError(f"{where}: is there twice; {DAMAGED}")
        if kind not in types:
            known = ", ".join(name for name, _ in types.values())
            raise OpenbookError(f"{where}: its type {kind:,} is not supported; quantise the model to one of {known}")
        known_as, block = types[kind]
        if not shape or not all(shape) or shape[-1] % block.numbers:
            raise OpenbookError(f"{where}: {known_as} of shape {list(shape)} is no whole number of blocks; {DAMAGED}")
        length = math.prod(shape) // block.numbers * block.bytes
        if offset % alignment or start + offset + length > size:
            raise OpenbookError(f"{where}: {length:,} bytes at {offset:,} are not in the file of {size:,}; {DAMAGED}")
        tensors[name] = GgufTensor(known_as, shape, start + offset, start + offset + length)
    ordered = sorted(tensors.items(), key=lambda item: item[1].begin)
    for (name, tensor), (_, following) in pairwise(ordered):
        if tensor.end > following.begin:
            raise OpenbookError(f"tensor {excerpt(name, 100)}: overlaps the one after it; {DAMAGED}")
    return tensors


class _Reader:
    """Reads a file from its beginning; `place` is where the next byte is read."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self.data, self.place = data, 0
        self.memory_left = MEMORY_FACTOR * len(data) + MEMORY_BASE

    def reserve(self, memory: int, where: str) -> None:
        """Refuse what would take more memory than a file of this size may."""
        self.memory_left -= memory
        if self.memory_left < 0:
            raise OpenbookError(f"{where}: would take {memory:,} bytes, too much for a file of this size; {DAMAGED}")

    def take(self, count: int, where: str) -> bytes:
        """The next bytes."""
        if count > len(self.data) - self.place:
            left = len(self.data) - self.place
            raise OpenbookError(f"{where}: should have {count:,} bytes, {left:,} are left; {DAMAGED}")
        self.place += count
        return bytes(self.data[self.place - count : self.place])

    def number(self, form: str, where: str) -> int:
        """The next integer."""
        return int(struct.unpack(form, self.take(struct.calcsize(form), where))[0])

    def string(self, where: str, longest: int) -> str:
        """The next string: its length, then its bytes."""
        length = self.number("<Q", where)
        if length > longest:
            raise OpenbookError(f"{where}: has {length:,} bytes, more than the {longest:,} allowed; {DAMAGED}")
        content = self.take(length, where)
        self.reserve(STRING_BYTES + CHARACTER_BYTES * length, where)
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise OpenbookError(f"{where}: is not UTF-8; {DAMAGED}") from None

    def value(self, kind: int, where: str) -> Any:
        """The next value of this kind."""
        if kind == _STRING:
            return self.string(where, MAX_STRING)
        if kind == _ARRAY:
            kind, count = self.number("<I", where), self.number("<Q", where)
            if count > MAX_ELEMENTS:
                raise OpenbookError(f"{where}: has {count:,} elements, more than {MAX_ELEMENTS:,}; {DAMAGED}")
            if kind == _STRING:
                if 8 * count > len(self.data) - self.place:  # each has a length at least
                    raise OpenbookError(f"{where}: {count:,} strings are more than the file holds; {DAMAGED}")
                return [self.string(where, MAX_STRING) for _ in range(count)]
            return self._scalars(kind, count, where)
        return self._scalars(kind, 1, where)[0]

    def _scalars(self, kind: int, count: int, where: str) -> list[Any]:
        if kind not in _SCALARS:
            raise OpenbookError(f"{where}: the kind {kind:,} is not known, or arrays within arrays; {DAMAGED}")
        dtype = np.dtype(_SCALARS[kind])
        content = self.take(count * dtype.itemsize, where)
        self.reserve(count * NUMBER_BYTES, where)
        values: list[Any] = np.frombuffer(content, dtype).tolist()
        if kind == 6:  # the number of fewest digits that is this float32: 1e-05, not 9.999999747378752e-06
            values = [float(str(np.float32(value))) for value in values] if count == 1 else values
        if dtype.kind == "f" and not all(map(math.isfinite, values)):
            raise OpenbookError(f"{where}: has a number that is not finite; {DAMAGED}")
        return values

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """The next row of the table: name, shape, number of the type, offset."""
        name = self.string("a tensor's name", MAX_NAME)
        axes = self.number("<I", f"tensor {excerpt(name)}")
        if not 1 <= axes <= MAX_DIMENSIONS:
            raise OpenbookError(f"tensor {excerpt(name, 100)}: has {axes:,} axes, not 1 to {MAX_DIMENSIONS}; {DAMAGED}")
        lengths = [self.number("<Q", f"tensor {excerpt(name)}") for _ in range(axes)]
        kind, offset = self.number("<I", f"tensor {excerpt(name)}"), self.number("<Q", f"tensor {excerpt(name)}")
        return name, tuple(reversed(lengths)), kind, offset
