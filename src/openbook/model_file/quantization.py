"""Quantized matrices in a model file: whole numbers under the matrix's name, scales and offsets beside them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.model_file import int4, int8
from openbook.model_file.dtypes import INT8
from openbook.model_file.header import TensorSpecs
from openbook.model_file.int4 import Int4Weight
from openbook.model_file.int8 import Int8Weight
from openbook.model_file.quantized_specs import PACKED, SUFFIXES, part_names
from openbook.model_file.quantized_weight import QuantizedWeight
from openbook.model_file.torch_dtypes import HEADER_NAMES
from openbook.model_file.writing import TensorWriter

CHUNK = 1 << 20
"""Numbers that are rounded at once."""
KINDS = {INT8: (Int8Weight, int8.quantize), PACKED: (Int4Weight, int4.quantize)}
"""Dtype in a file → what such a matrix is, and what makes one of floats."""


class QuantizingWriter:
    """Writes the parts of tensors, quantizing those that the file stores as whole numbers."""

    def __init__(self, writer: TensorWriter, specs: TensorSpecs) -> None:
        self._writer, self._specs = writer, specs
        self._name, self._held = "", list[list[Tensor]]()

    def write(self, name: str, part: Tensor) -> None:
        """Write the next whole rows of a tensor; tensors come in the order of the specs.

        A quantized part stays as it is where the file stores just that.

        Raises:
            OpenbookError: rows to be quantized have a number that is not finite, or too large for a float16 offset.
        """
        if name != self._name:
            self._write_held()
            self._name = name
        dtype = self._specs[name][0]
        if isinstance(part, QuantizedWeight):
            if self._fits(name, part):
                self._write_quantized(part)
                return
            part = part.dequantize()
        if dtype not in KINDS:
            self._writer.write(part)
            return
        for rows in torch.split(part, max(1, CHUNK // part[0].numel())):
            matrix = KINDS[dtype][1](rows)
            if not all(each.isfinite().all() for each in matrix.parts[1:]):
                kind = "int8" if dtype == INT8 else "int4"
                raise OpenbookError(
                    f"tensor {name}: has numbers that are not finite or too large, so {kind} cannot hold their rows"
                )
            self._write_quantized(matrix)

    def close(self) -> None:
        """Write what is held back, and check that every number was given."""
        self._write_held()
        self._writer.close()

    def _fits(self, name: str, matrix: QuantizedWeight) -> bool:
        """Whether a quantized matrix is already as the file stores it."""
        for suffix, part in named_parts(matrix).items():
            dtype, shape = self._specs.get(name + suffix, ("", (0,)))
            if (dtype, shape[-1]) != (HEADER_NAMES[part.dtype], part.shape[-1]):
                return False
        return True

    def _write_quantized(self, matrix: QuantizedWeight) -> None:
        numbers, *others = matrix.parts
        self._writer.write(numbers)
        self._held = self._held or [[] for _ in others]
        for held, other in zip(self._held, others, strict=True):
            held.append(other)

    def _write_held(self) -> None:
        for held in self._held:
            for each in held:
                self._writer.write(each)
        self._held = []


def named_parts(matrix: QuantizedWeight) -> dict[str, Tensor]:
    """The parts of a quantized matrix by what is added to its name in a file; nothing for its whole numbers."""
    suffixes = SUFFIXES[HEADER_NAMES[matrix.parts[0].dtype]]
    return dict(zip(("", *suffixes), matrix.parts, strict=True))


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as a file stores them: a quantized one becomes its whole numbers, and its scales and offsets after it."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, QuantizedWeight):
            stored |= {name + suffix: part for suffix, part in named_parts(tensor).items()}
        else:
            stored[name] = tensor
    return stored


def pack(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `unpack`: whole numbers, scales and offsets become one quantized tensor."""
    dtypes = {name: HEADER_NAMES[tensor.dtype] for name, tensor in stored.items()}
    parts = set(part_names(iter(dtypes.items())))
    return {
        name: KINDS[dtypes[name]][0](tensor, *(stored[name + suffix] for suffix in SUFFIXES[dtypes[name]]))
        if dtypes[name] in KINDS
        else tensor
        for name, tensor in stored.items()
        if name not in parts
    }
