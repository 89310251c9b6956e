"""Int8 matrices with a float32 scale for each row, or a float16 one for each group of 32 numbers of a row.

weight[o, i] = scale[o] · int_data[o, i], or scale[o, i // 32] · int_data[o, i].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from openbook.model_file.quantized_specs import GROUP
from openbook.model_file.quantized_weight import QuantizedWeight, in_groups

LARGEST = 127


class Int8Weight(QuantizedWeight):
    """A matrix (…, out, in), held as `int_data` (…, out, in) in int8 and `scale` (…, out, 1) or (…, out, in / 32)."""

    @property
    def int_data(self) -> Tensor:
        """The whole numbers."""
        return self.parts[0]

    @property
    def scale(self) -> Tensor:
        """What each is multiplied by."""
        return self.parts[1]

    @classmethod
    def floats(cls, *parts: Tensor) -> Tensor:
        """See `QuantizedWeight.floats`."""
        int_data, scale = parts
        if scale.dtype == torch.float32:
            return int_data * scale
        return (in_groups(int_data) * scale.float()[..., None]).flatten(-2)

    @classmethod
    def product(cls, x: Tensor, *parts: Tensor) -> Tensor:
        """As `QuantizedWeight.product`; scales of rows come after the product."""
        int_data, scale = parts
        if scale.dtype == torch.float32:
            return F.linear(x, int_data.to(x.dtype)) * scale.mT.to(x.dtype)
        return super().product(x, *parts)

    def numbers_at(self, *where: Tensor) -> Tensor:
        """See `QuantizedWeight.numbers_at`."""
        *rows, column = where
        group = column * 0 if self.scale.dtype == torch.float32 else column // GROUP
        return self.int_data[where] * self.scale[(*rows, group)].float()


def quantize(weight: Tensor) -> Int8Weight:
    """The nearest int8 matrix to (…, out, in): the largest number of each row becomes ±127."""
    wide = weight.float()
    scale = wide.abs().amax(-1, keepdim=True) / LARGEST
    return Int8Weight((wide / scale.clamp(min=torch.finfo(scale.dtype).tiny)).round().to(torch.int8), scale)
