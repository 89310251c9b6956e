"""Int8 matrices in a model file: the integers under the matrix's name, a float32 scale for each row beside them."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.model_file.dtypes import INT8
from openbook.model_file.header import DAMAGED, Shape, TensorSpecs
from openbook.model_file.int8 import Int8Weight, quantize
from openbook.model_file.writing import TensorWriter

SCALE_SUFFIX = ".scale"
QUANTIZED_MODULES = (
    *("query", "key", "value", "output", "gate", "up", "down"),
    *("token_embedding", "source_embedding", "to_logits"),
)
"""Modules whose matrices may be int8: nearly all of a model's size. Positions and routers stay float32."""

CHUNK = 1 << 20
"""Numbers that are rounded at once."""


def stored_specs(shapes: Mapping[str, Shape], dtype: str) -> TensorSpecs:
    """What a file stores for the tensors of an architecture: all of one dtype or, for I8, int8 and F32."""
    if dtype != INT8:
        return {name: (dtype, shape) for name, shape in shapes.items()}
    specs: TensorSpecs = {}
    for name, shape in shapes.items():
        *_, module, leaf = name.split(".")
        # Rows of a multiple of four end where a float32 may begin.
        if module in QUANTIZED_MODULES and leaf == "weight" and len(shape) > 1 and shape[-1] % 4 == 0:
            specs |= {name: (INT8, shape), name + SCALE_SUFFIX: ("F32", (*shape[:-1], 1))}
        else:
            specs[name] = ("F32", shape)
    return specs


class QuantizingWriter:
    """Writes the parts of tensors, quantizing those that the file stores as int8."""

    def __init__(self, writer: TensorWriter, specs: TensorSpecs) -> None:
        self._writer, self._specs = writer, specs
        self._name, self._scales = "", list[Tensor]()

    def write(self, name: str, part: Tensor) -> None:
        """Write the next whole rows of a tensor; tensors come in the order of the specs."""
        if name != self._name:
            self._write_scales()
            self._name = name
        if self._specs[name][0] != INT8:
            self._writer.write(part)
            return
        for rows in torch.split(part, max(1, CHUNK // part[0].numel())):
            matrix = quantize(rows)
            self._writer.write(matrix.int_data)
            self._scales.append(matrix.scale)

    def close(self) -> None:
        """Write what is held back, and check that every number was given."""
        self._write_scales()
        self._writer.close()

    def _write_scales(self) -> None:
        for scale in self._scales:
            self._writer.write(scale)
        self._scales.clear()


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as a file stores them: an `Int8Weight` becomes its integers and, behind them, its scales."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, Int8Weight):
            stored |= {name: tensor.int_data, name + SCALE_SUFFIX: tensor.scale}
        else:
            stored[name] = tensor
    return stored


def pack(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `unpack`: integers and scales become an `Int8Weight`."""
    scales = set(_scale_names((name, tensor.dtype == torch.int8) for name, tensor in stored.items()))
    return {
        name: Int8Weight(tensor, stored[name + SCALE_SUFFIX]) if tensor.dtype == torch.int8 else tensor
        for name, tensor in stored.items()
        if name not in scales
    }


def model_specs(stored: TensorSpecs) -> TensorSpecs:
    """The specs of a model's tensors from those that a file stores: int8 with its scales counts as F32.

    Raises:
        OpenbookError: a scale is missing, has another dtype or shape, or belongs to no matrix.
    """
    scales = set(_scale_names((name, dtype == INT8) for name, (dtype, _) in stored.items()))
    specs: TensorSpecs = {}
    for name, (dtype, shape) in stored.items():
        if name in scales:
            continue
        if dtype == INT8:
            scale = name + SCALE_SUFFIX
            if len(shape) < 2 or stored.get(scale) != ("F32", (*shape[:-1], 1)):
                raise OpenbookError(f"tensor {name}: is int8, but {scale} is no float32 for each row; {DAMAGED}")
            dtype = "F32"
        specs[name] = (dtype, shape)
    return specs


def _scale_names(tensors: Iterator[tuple[str, bool]]) -> Iterator[str]:
    return (name + SCALE_SUFFIX for name, is_int8 in tensors if is_int8)
