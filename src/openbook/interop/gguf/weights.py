"""The tensors of a GGUF file under the names of a Hugging Face folder, dequantized as they are read."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openbook.errors import OpenbookError
from openbook.interop.gguf.block_types import dequantize
from openbook.interop.gguf.blocks import LAYOUTS, read_blocks
from openbook.interop.gguf.header import GgufHeader
from openbook.interop.gguf.tensor_names import module_of
from openbook.interop.huggingface.tensor_mapping import Index
from openbook.interop.huggingface.weights import read_bytes
from openbook.model_file.header import Shape
from openbook.model_file.quantized_weight import QuantizedWeight

ROPE_FREQS = "rope_freqs.weight"
"""A tensor of what each rotary frequency is divided by; it is part of the config.json in a folder."""

TensorTransform = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class TensorLocation:
    """Where one of their tensors is: the file's tensor, the expert in it, and what is done to the numbers."""

    tensor: str
    expert: int | None = None
    transform: TensorTransform | None = None


@dataclass(frozen=True)
class GgufWeights:
    """A `TensorSource` of a GGUF file or its parts: `paths` are those of the file's tensors."""

    paths: Mapping[str, Path]
    header: GgufHeader
    locations: Mapping[str, TensorLocation]

    @property
    def names(self) -> Collection[str]:
        """The names of all tensors."""
        return self.locations.keys()

    def __contains__(self, name: str) -> bool:
        return name in self.locations

    def shape(self, name: str, mxfp4: bool = False) -> Shape:
        """The shape of a tensor."""
        location = self.locations[name]
        shape = self.header.tensors[location.tensor].shape[location.expert is not None :]
        if location.transform is None or len(shape) != 2:
            return shape
        return tuple(location.transform(torch.empty(shape, device="meta")).shape)

    def read(self, name: str, index: Index = (), mxfp4: bool = False) -> torch.Tensor:
        """A part of a tensor, in float32. Of many experts, only one is read."""
        content, type_name, shape, transform = self._content(name)
        values = torch.from_numpy(dequantize(content, type_name)).view(shape)
        return (values if transform is None else transform(values))[index]

    def layout(self, name: str) -> str | None:
        """As `TensorSource.layout`: blocks of 32 numbers are groups of 32."""
        tensor = self.header.tensors[self.locations[name].tensor]
        return LAYOUTS.get(tensor.type) if len(tensor.shape) > 1 else None

    def read_quantized(self, name: str, index: Index = ()) -> QuantizedWeight:
        """As `TensorSource.read_quantized`, number by number as the file has them."""
        content, type_name, shape, transform = self._content(name)
        matrix = read_blocks(content, type_name, shape)
        # What is done to rows is done to those of each part.
        parts = matrix.parts if transform is None else [transform(part) for part in matrix.parts]
        return type(matrix)(*(part[index].contiguous() for part in parts))

    def _content(self, name: str) -> tuple[np.ndarray[Any, Any], str, Shape, TensorTransform | None]:
        """The bytes of a tensor or of one expert, their type, the shape, and what is to be done to the numbers."""
        location = self.locations[name]
        tensor = self.header.tensors[location.tensor]
        begin, size, shape = tensor.begin, tensor.end - tensor.begin, tensor.shape
        if location.expert is not None:
            size //= shape[0]
            begin, shape = begin + location.expert * size, shape[1:]
        content = np.frombuffer(read_bytes(self.paths[location.tensor], location.tensor, begin, size), np.uint8)
        return content, tensor.type, shape, location.transform

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors hold the same numbers."""
        return self.shape(one) == self.shape(other) and torch.equal(self.read(one), self.read(other))


def locate_tensors(
    header: GgufHeader, names: Mapping[str, str], transforms: Mapping[str, TensorTransform]
) -> Iterator[tuple[str, TensorLocation]]:
    """Their tensors and where each is, by a table of module names.

    Raises:
        OpenbookError: the table does not have one of the file's tensors.
    """
    for name, tensor in header.tensors.items():
        module, number, leaf = module_of(name)
        if module not in names:
            raise OpenbookError(
                f"tensor {name[:100]} is not part of such a model and may change the result; upgrade openbook"
            )
        theirs = f"{names[module].replace('#', number)}.{leaf}"
        transform = transforms.get(module)
        if "*" not in theirs:
            yield theirs, TensorLocation(name, None, transform)
            continue
        for expert in range(tensor.shape[0]):
            yield theirs.replace("*", str(expert)), TensorLocation(name, expert, transform)
