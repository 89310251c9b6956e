"""The tensors of a GGUF file under the names of a Hugging Face folder, dequantised as they are read."""

import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openbook.errors import OpenbookError
from openbook.interop.gguf.header import Header, Quantity, read_header
from openbook.interop.huggingface.tensor_mapping import Index, Shape
from openbook.model_file.file_type import content_problem, path_problem
from openbook.text.strict_json import DAMAGED

KINDS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL"]
"""The types that can be read."""

Change = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Place:
    """Where a tensor of theirs is: in which of the file's, at which place of its first axis, and how it is changed."""

    tensor: str
    expert: int | None = None
    change: Change | None = None


@dataclass(frozen=True)
class GgufWeights:
    """What `resolve` asks of the weights of a folder, for one file."""

    path: Path
    header: Header
    places: Mapping[str, Place]

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def shape(self, name: str, packed: bool = False) -> Shape:
        """The shape of a tensor."""
        place = self.places[name]
        shape = self.header.tensors[place.tensor].shape[place.expert is not None :]
        if place.change is None or len(shape) != 2:
            return shape
        return tuple(place.change(torch.empty(shape, device="meta")).shape)

    def dtype(self, name: str) -> str:
        """Its type by the names of safetensors; F32 for what is quantised."""
        kind = self.header.tensors[self.places[name].tensor].kind
        return kind if kind in ("F32", "F16", "BF16") else "F32"

    def read(self, name: str, at: Index = (), packed: bool = False) -> torch.Tensor:
        """A part of a tensor, in float32. Of experts, only the one that is asked for is read."""
        place = self.places[name]
        tensor = self.header.tensors[place.tensor]
        begin, end, shape = tensor.begin, tensor.end, tensor.shape
        if place.expert is not None:
            size = (end - begin) // shape[0]
            begin, end, shape = begin + place.expert * size, begin + (place.expert + 1) * size, shape[1:]
        content = bytearray(end - begin)
        with self.path.open("rb", buffering=0) as file:
            file.seek(begin)
            view, reached = memoryview(content), 0
            while reached < len(content):
                count = file.readinto(view[reached:])
                if not count:
                    raise OpenbookError(f"{self.path.name}, tensor {place.tensor}: the file ends too early; {DAMAGED}")
                reached += count
        values = torch.from_numpy(dequantized(np.frombuffer(content, np.uint8), tensor.kind)).view(shape)
        return (values if place.change is None else place.change(values))[at]

    def same(self, one: str, other: str) -> bool:
        """Whether two tensors hold the same numbers."""
        return self.shape(one) == self.shape(other) and torch.equal(self.read(one), self.read(other))


def open_gguf(path: Path) -> Header:
    """The checked header of a file. Raises OpenbookError saying what is wrong, without the file's name."""
    fault = path_problem(path)
    if fault is not None:
        raise OpenbookError(fault)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"GGUF":
            raise OpenbookError(content_problem(data[:1000]))
        return read_header(data, types())


@cache
def types() -> dict[int, tuple[str, Quantity]]:
    """The types that can be read, by their number in a file. Raises OpenbookError where the library is missing."""
    sizes = library().GGML_QUANT_SIZES
    return {int(kind): (kind.name, Quantity(*sizes[kind])) for kind in sizes if kind.name in KINDS}


def dequantized(content: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """The float32 numbers of a tensor's bytes."""
    if kind == "F32":
        return content.view(np.float32)
    if kind == "F16":
        return content.view(np.float16).astype(np.float32)
    gguf = library()
    values = gguf.quants.dequantize(content[None], gguf.GGMLQuantizationType[kind])
    return np.ascontiguousarray(values.reshape(-1), np.float32)


def library() -> Any:
    try:
        import gguf
    except ImportError:
        raise OpenbookError("GGUF files need the gguf package; pip install 'openbook[gguf]'") from None
    return gguf


def renamed(header: Header, names: Mapping[str, str], changes: Mapping[str, Change]) -> Iterator[tuple[str, Place]]:
    """Theirs → the file's tensors, by a table of names with # for the number of a block and * for that of an expert.

    Raises OpenbookError for a tensor that the table does not have.
    """
    for name, tensor in header.tensors.items():
        parts = name.split(".")
        number = parts[1] if parts[0] == "blk" and len(parts) > 3 and parts[1].isdigit() else None
        stem = ".".join(["blk", "#", *parts[2:-1]] if number is not None else parts[:-1])
        theirs = names.get(stem)
        if theirs is None:
            raise OpenbookError(f"tensor {name[:100]} is nothing that such a model has; it may change the result")
        leaf = parts[-1]
        whole = f"{theirs.replace('#', number or '')}.{leaf}"
        change = changes.get(stem)
        if "*" not in whole:
            yield whole, Place(name, None, change)
            continue
        for expert in range(tensor.shape[0]):
            yield whole.replace("*", str(expert)), Place(name, expert, change)
