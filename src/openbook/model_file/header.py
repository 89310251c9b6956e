"""The header of a safetensors file, read and checked without trusting any of it.

A safetensors file is 8 bytes (the header's length, little-endian), the header (a JSON object with each tensor's dtype,
shape and place, and a `__metadata__` of strings), then the tensors' bytes without gaps.

The reader accepts this grammar and nothing else, so that time and memory are bounded by the header's length: no deep
nesting, no key twice, no endless numbers. Errors name no file; the caller adds its name (`file.error_context`).
"""

import json
import math
import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from openbook.errors import OpenbookError
from openbook.text.printable import excerpt
from openbook.text.strict_json import DAMAGED as DAMAGED

MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library too
MAX_ENTRIES = 20_000  # tensors, or metadata fields; 1,024 layers of 19

ITEM_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}
"""Bytes of one number of each dtype."""

Shape = tuple[int, ...]
TensorSpecs = dict[str, tuple[str, Shape]]
"""A tensor's name → its dtype by the names of safetensors, and its shape."""

_NAME = re.compile(r"[!-~]{1,256}")
_NUMBER = "(?:0|[1-9][0-9]{0,18})"
_NUMBERS = re.compile(rf"\[[ \t\r\n]*(?:{_NUMBER}(?:[ \t\r\n]*,[ \t\r\n]*{_NUMBER}){{0,7}})?[ \t\r\n]*\]")
_SPACE = re.compile(r"[ \t\r\n]*")
_JSON = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor's dtype by the names of safetensors, its shape, and where its bytes begin and end in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A checked header: metadata strings, and tensors by name."""

    metadata: dict[str, str]
    tensors: dict[str, TensorInfo]


def looks_like_safetensors(start: bytes) -> bool:
    """Whether a file's first 9 bytes are an acceptable length and the beginning of a JSON object."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER


def read_header(file: bytes | mmap.mmap) -> Header:
    """Read and check the header of a file that `looks_like_safetensors`.

    Args:
        file: the file's bytes, usually a memory map; nothing behind the header is touched.

    Raises:
        OpenbookError: naming the tensor or field and the cure.
    """
    start, size = 8 + int.from_bytes(file[:8], "little"), len(file)
    if start > size:
        raise OpenbookError(f"its header should end at byte {start:,} but the file has {size:,} bytes; {DAMAGED}")
    try:
        text = file[8:start].decode()
    except UnicodeDecodeError as error:
        raise OpenbookError(f"its header is not UTF-8 at byte {8 + error.start:,}; {DAMAGED}") from None
    header = _Parser(text).header(start)
    _check_layout(header.tensors, start, size)
    return header


def write_header(metadata: Mapping[str, str], tensors: Mapping[str, tuple[str, Sequence[int]]]) -> bytes:
    """The bytes before the tensors' own; the same arguments always give the same bytes.

    Args:
        metadata: strings to keep beside the tensors.
        tensors: dtype and shape of each tensor, in the order in which their bytes will follow.
    """
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + ITEM_BYTES[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)  # tensors begin where vector instructions like to read
    if len(text) > MAX_HEADER:
        raise OpenbookError(f"its header would take {len(text):,} bytes, more than the {MAX_HEADER:,} allowed")
    return len(text).to_bytes(8, "little") + text


def _check_layout(tensors: Mapping[str, TensorInfo], start: int, size: int) -> None:
    """Check that the tensors' bytes follow each other from `start` to the file's end."""
    reached = start
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != reached:
            problem = "overlaps the tensor before it" if info.begin < reached else "leaves a gap before it"
            raise OpenbookError(f"tensor {name}: it {problem} (byte {info.begin:,}, not {reached:,}); {DAMAGED}")
        if info.end > size:
            raise OpenbookError(
                f"tensor {name}: it ends at byte {info.end:,} of {size:,}, so the end is cut off; {DAMAGED}"
            )
        reached = info.end
    if reached < size:
        raise OpenbookError(f"{size - reached:,} bytes follow its last tensor and belong to nothing; {DAMAGED}")


class _Parser:
    """A parser of the header's text. `place` is where it reads next."""

    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0

    def header(self, start: int) -> Header:
        """The whole text; offsets become absolute by adding `start`."""
        metadata: dict[str, str] = {}
        tensors: dict[str, TensorInfo] = {}
        for key in self._members("the header"):
            if key == "__metadata__":
                metadata = {name: self._string(f"metadata field {name}") for name in self._members("its metadata")}
                continue
            tensors[key] = self._entry(key, start)
        self._skip_space()
        if self.place != len(self.text):
            self._fail("the header", "something follows it")
        return Header(metadata, tensors)

    def _entry(self, name: str, start: int) -> TensorInfo:
        where = f"tensor {name}"
        dtype: str | None = None
        shape: tuple[int, ...] | None = None
        offsets: tuple[int, ...] | None = None
        for key in self._members(where):
            match key:
                case "dtype":
                    dtype = self._string(f"{where}, dtype")
                case "shape":
                    shape = self._numbers(f"{where}, shape")
                case "data_offsets":
                    offsets = self._numbers(f"{where}, data_offsets")
                case _:
                    raise OpenbookError(f"{where}: unknown field {key}; {DAMAGED}")
        if dtype is None or shape is None or offsets is None or len(offsets) != 2:
            raise OpenbookError(f"{where}: it needs dtype, shape and two data_offsets; {DAMAGED}")
        if dtype not in ITEM_BYTES:
            raise OpenbookError(
                f"{where}, dtype: {excerpt(dtype)} is not one of {', '.join(ITEM_BYTES)}; "
                f"upgrade openbook, or {DAMAGED}"
            )
        # Python's integers do not overflow, so a huge shape is only a huge number.
        needed, begin, end = ITEM_BYTES[dtype] * math.prod(shape), *offsets
        if end - begin != needed:
            size = f"{dtype} of shape {list(shape)} takes {needed:,} bytes, data_offsets give {end - begin:,}"
            raise OpenbookError(f"{where}: {size}; {DAMAGED}")
        return TensorInfo(dtype, shape, start + begin, start + end)

    def _members(self, where: str) -> Iterator[str]:
        """The keys of an object. After each, the caller reads its value."""
        if not self._take("{"):
            self._fail(where, "it should be an object")
        if self._take("}"):
            return
        seen: set[str] = set()
        while True:
            key = self._string(f"{where}, a key")
            if not _NAME.fullmatch(key):
                raise OpenbookError(f'{where}: the key "{excerpt(key)}" is not 1 to 256 plain characters; {DAMAGED}')
            if key in seen:
                raise OpenbookError(f"{where}: the key {key} is there twice; {DAMAGED}")
            seen.add(key)
            if len(seen) > MAX_ENTRIES:
                raise OpenbookError(f"{where} has more than {MAX_ENTRIES:,} entries; {DAMAGED}")
            if not self._take(":"):
                self._fail(where, "a colon should follow the key")
            yield key
            if not self._take(","):
                break
        if not self._take("}"):
            self._fail(where, "it should end or go on after a comma")

    def _string(self, where: str) -> str:
        self._skip_space()
        if not self.text.startswith('"', self.place):
            self._fail(where, "it should be a string")
        try:
            value, self.place = _JSON.raw_decode(self.text, self.place)
            value.encode()  # half a surrogate pair can be written as an escape but is no text
        except ValueError:
            self._fail(where, "it is not a whole string")
        return value

    def _numbers(self, where: str) -> tuple[int, ...]:
        self._skip_space()
        found = _NUMBERS.match(self.text, self.place)
        if found is None:
            self._fail(where, "it should be a list of at most 8 whole numbers from 0")
        self.place = found.end()
        inside = found[0][1:-1].strip()
        return tuple(int(number) for number in inside.split(",")) if inside else ()

    def _take(self, character: str) -> bool:
        self._skip_space()
        taken = self.text.startswith(character, self.place)
        self.place += taken
        return taken

    def _skip_space(self) -> None:
        found = _SPACE.match(self.text, self.place)
        self.place = found.end() if found else self.place

    def _fail(self, where: str, reason: str) -> NoReturn:
        raise OpenbookError(f'{where}: {reason}, not "{excerpt(self.text[self.place : self.place + 20])}"; {DAMAGED}')
