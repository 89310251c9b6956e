"""The tensors of a folder, in one safetensors file or in shards: headers are checked at once, numbers read in parts.

Tensors are read with plain reads, not through a memory map. So memory holds one part at a time, and a file that shrinks
meanwhile gives an error, not a crash.
"""

import math
import mmap
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.interop.huggingface.mxfp4 import BLOCK, dequantize_mxfp4
from openbook.interop.huggingface.tensor_mapping import Index
from openbook.model_file.file_type import CONVERT, PICKLE, content_problem
from openbook.model_file.header import DAMAGED, ITEM_BYTES, Shape, TensorInfo, looks_like_safetensors, read_header
from openbook.model_file.quantization import KINDS
from openbook.model_file.quantized_specs import SUFFIXES
from openbook.model_file.quantized_weight import QuantizedWeight
from openbook.text.plain_files import open_member
from openbook.text.printable import excerpt
from openbook.text.strict_json import read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_SHARDS = 2_000
MAX_INDEX_BYTES = 50_000_000
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U8": torch.uint8,
    "I8": torch.int8,
}
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


class TensorSource(Protocol):
    """The tensors of a checkpoint by their names in a Hugging Face folder."""

    @property
    def names(self) -> Collection[str]:
        """The names of all tensors."""
        ...

    def __contains__(self, name: str) -> bool: ...

    def shape(self, name: str, mxfp4: bool = False) -> Shape:
        """The shape of a tensor."""
        ...

    def read(self, name: str, index: Index = (), mxfp4: bool = False) -> Tensor:
        """A part of a tensor."""
        ...

    def layout(self, name: str) -> str | None:
        """The layout of quantized matrices in which a model file can have this very tensor; None if there is none."""
        ...

    def read_quantized(self, name: str, index: Index = ()) -> QuantizedWeight:
        """A part of a tensor that has such a layout: whole rows."""
        ...

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors hold the same numbers."""
        ...


@dataclass(frozen=True)
class SafetensorsWeights:
    """Tensors in safetensors files: name → file, and what its header says of the tensor."""

    tensors: dict[str, tuple[Path, TensorInfo]]

    @property
    def names(self) -> Collection[str]:
        """The names of all tensors."""
        return self.tensors.keys()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def shape(self, name: str, mxfp4: bool = False) -> Shape:
        """The shape of a tensor, or of the numbers that a pair of 4-bit tensors holds."""
        if not mxfp4:
            return self.tensors[name][1].shape
        blocks, scales = self.shape(f"{name}_blocks"), self.shape(f"{name}_scales")
        if len(blocks) < 2 or blocks[:-1] != scales or blocks[-1] * 2 != BLOCK:
            raise OpenbookError(f"tensor {name}: blocks of {list(blocks)} and scales of {list(scales)} do not fit")
        return (*blocks[:-2], blocks[-2] * BLOCK)

    def dtype(self, name: str) -> str:
        """Its dtype by the names of safetensors."""
        return self.tensors[name][1].dtype

    def read(self, name: str, index: Index = (), mxfp4: bool = False) -> Tensor:
        """A part of a tensor. Along the first axis, only what is asked for is read.

        Raises:
            OpenbookError: the file cannot be read or has changed, or no model has this dtype.
        """
        first, rest = index[:1], index[1:]
        if mxfp4:
            return dequantize_mxfp4(self._read(f"{name}_blocks", first), self._read(f"{name}_scales", first))[rest]
        dtype = self.dtype(name)
        if dtype in KINDS:  # of a model file of ours
            names = [name + suffix for suffix in ("", *SUFFIXES[dtype])]
            if not all(each in self for each in names):
                raise OpenbookError(f"tensor {name}: dtype {dtype} without scales is none of {', '.join(DTYPES)}")
            return KINDS[dtype][0].floats(*(self._read(each, first) for each in names))[rest]
        return self._read(name, index)

    def layout(self, name: str) -> str | None:
        """As `TensorSource.layout`: a folder's tensors are floats."""
        return None

    def read_quantized(self, name: str, index: Index = ()) -> QuantizedWeight:
        """Never called: it is only for tensors that `layout` names, and of a folder it names none."""
        raise NotImplementedError("a folder has no tensors of such a layout")

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors have the same dtype, shape and bytes."""
        (path, info), (other_path, other_info) = self.tensors[one], self.tensors[other]
        if (info.dtype, info.shape) != (other_info.dtype, other_info.shape):
            return False
        with path.open("rb") as file, other_path.open("rb") as other_file:
            file.seek(info.begin)
            other_file.seek(other_info.begin)
            left = info.end - info.begin
            while left:
                size = min(left, 1 << 20)
                if file.read(size) != other_file.read(size):
                    return False
                left -= size
        return True

    def _read(self, name: str, index: Index) -> Tensor:
        path, info = self.tensors[name]
        if info.dtype not in DTYPES:
            raise OpenbookError(f"{path.name}, tensor {name}: dtype {info.dtype} is none of {', '.join(DTYPES)}")
        begin, shape, rest = info.begin, info.shape, index
        if index and isinstance(index[0], int):
            begin += index[0] * ITEM_BYTES[info.dtype] * math.prod(shape[1:])
            shape, rest = shape[1:], index[1:]
        size, dtype = ITEM_BYTES[info.dtype] * math.prod(shape), DTYPES[info.dtype]
        content = read_bytes(path, name, begin, size)
        flat = torch.frombuffer(content, dtype=dtype) if size else torch.empty(0, dtype=dtype)
        return flat.view(shape)[rest]


def read_bytes(path: Path, tensor: str, begin: int, size: int) -> bytearray:
    """Bytes of a tensor.

    Raises:
        OpenbookError: the file has become shorter.
    """
    content = bytearray(size)
    with path.open("rb", buffering=0) as file:
        file.seek(begin)
        view, done = memoryview(content), 0
        while done < size:
            count = file.readinto(view[done:])
            if not count:
                raise OpenbookError(f"{path.name}, tensor {tensor}: the file ends too early; {DAMAGED}")
            done += count
    return content


def open_weights(folder: Path) -> SafetensorsWeights:
    """Find and check the tensors of a folder. As in transformers, model.safetensors counts before an index of shards.

    Raises:
        OpenbookError: there are none, they are pickled, or a file is damaged; names the file and the cure.
    """
    if (folder / SINGLE).exists():
        return open_safetensors(folder / SINGLE)
    if (folder / INDEX).exists():
        return SafetensorsWeights(_sharded(folder))
    single = sorted(folder.glob("*.safetensors"))
    if len(single) == 1:
        return SafetensorsWeights({name: (single[0], info) for name, info in _checked_header(single[0]).items()})
    if single:
        raise OpenbookError(f"{INDEX} is missing, so it is unknown which of its safetensors files belong together")
    pickled = next((file for file in sorted(folder.iterdir()) if file.suffix in PICKLED), None)
    if pickled is not None:
        raise OpenbookError(
            f"{pickled.name} is pickled: {PICKLE}; {CONVERT}, as `save_pretrained` of transformers does"
        )
    raise OpenbookError(f"it has no {SINGLE}; give a folder with config.json and the weights as safetensors")


def open_safetensors(path: Path) -> SafetensorsWeights:
    """The tensors of one file, its header checked. Raises OpenbookError if it is missing or damaged."""
    return SafetensorsWeights({name: (path, info) for name, info in _checked_header(path).items()})


def _sharded(folder: Path) -> dict[str, tuple[Path, TensorInfo]]:
    index = read_small_json(folder / INDEX, MAX_INDEX_BYTES)
    table: Any = index.get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(each, str) for each in table.values()):
        raise OpenbookError(f"{INDEX}, field weight_map: should be an object of file names; {DAMAGED}")
    shards = list(dict.fromkeys(table.values()))
    if len(shards) > MAX_SHARDS:
        raise OpenbookError(f"{INDEX}: names {len(shards):,} files, more than {MAX_SHARDS:,}")
    tensors: dict[str, tuple[Path, TensorInfo]] = {}
    for shard in shards:
        if not _is_plain(shard):
            raise OpenbookError(
                f'{INDEX}: "{excerpt(shard)}" is no plain name of a safetensors file in this folder; refused'
            )
        for name, info in _checked_header(folder / shard).items():
            if table.get(name) != shard:
                raise OpenbookError(f"{shard}: holds tensor {name}, but {INDEX} does not say so; {DAMAGED}")
            tensors[name] = (folder / shard, info)
    for name, shard in table.items():
        if name not in tensors:
            raise OpenbookError(f"{INDEX}: tensor {excerpt(name, 100)} should be in {shard}, but is not; {DAMAGED}")
    return tensors


def _is_plain(name: str) -> bool:
    """A file name and nothing else: no folder, no drive, nothing hidden."""
    plain = name.isascii() and name.isprintable() and not set(name) & set('/\\:*?"<>|') and not name.startswith(".")
    return plain and name.endswith(".safetensors") and len(name) <= 200


def _checked_header(path: Path) -> dict[str, TensorInfo]:
    """The checked header of one file."""
    if not path.exists():
        raise OpenbookError(f"{path.name} is missing; copy or download it again")
    with open_member(path) as file:
        if path.stat().st_size == 0:
            raise OpenbookError(f"{path.name} is empty; {DAMAGED}")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        with data:
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
    with open_member(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OpenbookError(f"{path.name}: has more than {limit:,} bytes, the most allowed")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OpenbookError(f"{path.name}: is not UTF-8 at byte {error.start:,}; {DAMAGED}") from None
    value = read_json(path.name, text, limit)
    if not isinstance(value, dict):
        raise OpenbookError(f"{path.name}: should be a JSON object; {DAMAGED}")
    return value
