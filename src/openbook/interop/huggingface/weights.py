"""The tensors of a folder, in one safetensors file or in shards: headers are checked at once, numbers read in parts.

A tensor is read with plain reads, never through a memory map: so memory holds one part at a time, and a file that
shrinks meanwhile is an error and no crash.
"""

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.interop.huggingface.mxfp4 import BLOCK, unpack
from openbook.interop.huggingface.tensor_mapping import Index, Shape
from openbook.model_file.file_type import CONVERT, PICKLE, content_problem
from openbook.model_file.header import DAMAGED, ITEM_BYTES, TensorInfo, looks_like_safetensors, read_header
from openbook.model_file.quantization import INT8, SCALE_SUFFIX
from openbook.text.printable import excerpt
from openbook.text.strict_json import read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MOST_SHARDS = 2_000
LONGEST_INDEX = 50_000_000
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U8": torch.uint8,
    "I8": torch.int8,
}
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


class Source(Protocol):
    """Where the tensors of another program's model are."""

    @property
    def places(self) -> Mapping[str, Any]:
        """Each tensor's place, by name."""
        ...

    def __contains__(self, name: str) -> bool: ...

    def shape(self, name: str, packed: bool = False) -> Shape:
        """The shape of a tensor."""
        ...

    def read(self, name: str, at: Index = (), packed: bool = False) -> Tensor:
        """A part of a tensor."""
        ...

    def same(self, one: str, other: str) -> bool:
        """Whether two tensors hold the same."""
        ...


@dataclass(frozen=True)
class Weights:
    """Where each tensor of a folder is: its file, and its place there."""

    places: dict[str, tuple[Path, TensorInfo]]

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def shape(self, name: str, packed: bool = False) -> Shape:
        """The shape of a tensor, or of what a pair of packed ones holds."""
        if not packed:
            return self.places[name][1].shape
        blocks, scales = self.shape(f"{name}_blocks"), self.shape(f"{name}_scales")
        if len(blocks) < 2 or blocks[:-1] != scales or blocks[-1] * 2 != BLOCK:
            raise OpenbookError(f"tensor {name}: blocks of {list(blocks)} and scales of {list(scales)} do not fit")
        return (*blocks[:-2], blocks[-2] * BLOCK)

    def dtype(self, name: str) -> str:
        """Its name in the header."""
        return self.places[name][1].dtype

    def read(self, name: str, at: Index = (), packed: bool = False) -> Tensor:
        """A part of a tensor; of the first axis only what is asked for is read.

        Raises:
            OpenbookError: the file cannot be read or has changed, or its type is none that a model can have.
        """
        if packed:
            first, rest = at[:1], at[1:]
            return unpack(self._read(f"{name}_blocks", first), self._read(f"{name}_scales", first))[rest]
        if self.dtype(name) == INT8:
            if name + SCALE_SUFFIX not in self:
                raise OpenbookError(f"tensor {name}: dtype {INT8} without scales is none of {', '.join(DTYPES)}")
            first, rest = at[:1], at[1:]
            return (self._read(name, first) * self._read(name + SCALE_SUFFIX, first))[rest]
        return self._read(name, at)

    def same(self, one: str, other: str) -> bool:
        """Whether two tensors have the same type, shape and bytes."""
        (path, entry), (other_path, other_entry) = self.places[one], self.places[other]
        if (entry.dtype, entry.shape) != (other_entry.dtype, other_entry.shape):
            return False
        with path.open("rb") as file, other_path.open("rb") as other_file:
            file.seek(entry.begin)
            other_file.seek(other_entry.begin)
            left = entry.end - entry.begin
            while left:
                some = min(left, 1 << 20)
                if file.read(some) != other_file.read(some):
                    return False
                left -= some
        return True

    def _read(self, name: str, at: Index) -> Tensor:
        path, entry = self.places[name]
        if entry.dtype not in DTYPES:
            raise OpenbookError(f"{path.name}, tensor {name}: dtype {entry.dtype} is none of {', '.join(DTYPES)}")
        begin, shape, rest = entry.begin, entry.shape, at
        if at and isinstance(at[0], int):
            begin += at[0] * ITEM_BYTES[entry.dtype] * math.prod(shape[1:])
            shape, rest = shape[1:], at[1:]
        size = ITEM_BYTES[entry.dtype] * math.prod(shape)
        content = bytearray(size)
        with path.open("rb", buffering=0) as file:
            file.seek(begin)
            view, reached = memoryview(content), 0
            while reached < size:
                count = file.readinto(view[reached:])
                if not count:
                    raise OpenbookError(f"{path.name}, tensor {name}: the file ends too early; {DAMAGED}")
                reached += count
        flat = (
            torch.frombuffer(content, dtype=DTYPES[entry.dtype]) if size else torch.empty(0, dtype=DTYPES[entry.dtype])
        )
        return flat.view(shape)[rest]


def open_weights(folder: Path) -> Weights:
    """Find and check the tensors of a folder.

    Raises:
        OpenbookError: there are none, they are pickled, or a file is damaged; names the file and the cure.
    """
    if (folder / INDEX).is_file():
        return Weights(_sharded(folder))
    if (folder / SINGLE).is_file():
        return Weights({name: (folder / SINGLE, entry) for name, entry in _entries(folder / SINGLE).items()})
    single = sorted(folder.glob("*.safetensors"))
    if len(single) == 1:
        return Weights({name: (single[0], entry) for name, entry in _entries(single[0]).items()})
    if single:
        raise OpenbookError(f"{INDEX} is missing, so it is not known which of its safetensors files belong together")
    pickled = next((file for file in sorted(folder.iterdir()) if file.suffix in PICKLED), None)
    if pickled is not None:
        raise OpenbookError(
            f"{pickled.name} is pickled: {PICKLE}; {CONVERT}, as `save_pretrained` of transformers does"
        )
    raise OpenbookError(f"it has no {SINGLE}; give a folder with config.json and the weights as safetensors")


def _sharded(folder: Path) -> dict[str, tuple[Path, TensorInfo]]:
    index = read_small_json(folder / INDEX, LONGEST_INDEX)
    table: Any = index.get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(each, str) for each in table.values()):
        raise OpenbookError(f"{INDEX}, field weight_map: should be an object of file names; {DAMAGED}")
    shards = list(dict.fromkeys(table.values()))
    if len(shards) > MOST_SHARDS:
        raise OpenbookError(f"{INDEX}: names {len(shards):,} files, more than {MOST_SHARDS:,}")
    places: dict[str, tuple[Path, TensorInfo]] = {}
    for shard in shards:
        if not _is_plain(shard):
            raise OpenbookError(
                f'{INDEX}: "{excerpt(shard)}" is no plain name of a safetensors file in this folder; refused'
            )
        for name, entry in _entries(folder / shard).items():
            if table.get(name) != shard:
                raise OpenbookError(f"{shard}: holds tensor {name}, but {INDEX} does not say so; {DAMAGED}")
            places[name] = (folder / shard, entry)
    for name, shard in table.items():
        if name not in places:
            raise OpenbookError(f"{INDEX}: tensor {excerpt(name, 100)} should be in {shard}, but is not; {DAMAGED}")
    return places


def _is_plain(name: str) -> bool:
    """A file name and nothing else: no folder, no drive, nothing hidden."""
    plain = name.isascii() and name.isprintable() and not set(name) & set('/\\:*?"<>|') and not name.startswith(".")
    return plain and name.endswith(".safetensors") and len(name) <= 200


def _entries(path: Path) -> dict[str, TensorInfo]:
    """The checked header of one file."""
    if not path.is_file():
        raise OpenbookError(f"{path.name} is missing; copy or download it again")
    if path.stat().st_size == 0:
        raise OpenbookError(f"{path.name} is empty; {DAMAGED}")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = data[:1000]
            if not looks_like_safetensors(start):
                raise OpenbookError(content_problem(start))
            return read_header(data).tensors
    except OpenbookError as error:
        raise OpenbookError(f"{path.name}: {error}") from None


def read_small_json(path: Path, limit: int) -> dict[str, Any]:
    """An object from a JSON file of at most `limit` bytes.

    Raises:
        OpenbookError: naming the file and what is wrong.
    """
    size = path.stat().st_size
    if size > limit:
        raise OpenbookError(f"{path.name}: has {size:,} bytes, more than the {limit:,} allowed")
    with path.open("rb") as file:
        content = file.read(limit + 1)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OpenbookError(f"{path.name}: is not UTF-8 at byte {error.start:,}; {DAMAGED}") from None
    value = read_json(path.name, text, limit)
    if not isinstance(value, dict):
        raise OpenbookError(f"{path.name}: should be a JSON object; {DAMAGED}")
    return value
