"""Int8 matrices in a model file: the integers under the matrix's name, a float32 scale for each row beside them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.model_file.dtypes import INT8
from openbook.model_file.header import TensorSpecs
from openbook.model_file.int8 import Int8Weight, quantize
from openbook.model_file.quantized_specs import SCALE_SUFFIX, scale_names
from openbook.model_file.writing import TensorWriter

CHUNK = 1 << 20
"""Numbers that are rounded at once."""


class QuantizingWriter:
    """Writes the parts of tensors, quantizing those that the file stores as int8."""

    def __init__(self, writer: TensorWriter, specs: TensorSpecs) -> None:
        self._writer, self._specs = writer, specs
        self._name, self._scales = "", list[Tensor]()

    def write(self, name: str, part: Tensor) -> None:
        """Write the next whole rows of a tensor; tensors come in the order of the specs.

        Integers with scales stay as they are where the file stores int8.

        Raises:
            OpenbookError: a row to be stored as int8 has a number that is not finite.
        """
        if name != self._name:
            self._write_scales()
            self._name = name
        if self._specs[name][0] != INT8:
            self._writer.write(part)
            return
        if isinstance(part, Int8Weight):
            self._writer.write(part.int_data)
            self._scales.append(part.scale)
            return
        for rows in torch.split(part, max(1, CHUNK // part[0].numel())):
            matrix = quantize(rows)
            if not matrix.scale.isfinite().all():
                raise OpenbookError(f"tensor {name}: has numbers that are not finite, so int8 cannot hold their rows")
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
    scales = set(scale_names((name, tensor.dtype == torch.int8) for name, tensor in stored.items()))
    return {
        name: Int8Weight(tensor, stored[name + SCALE_SUFFIX]) if tensor.dtype == torch.int8 else tensor
        for name, tensor in stored.items()
        if name not in scales
    }
