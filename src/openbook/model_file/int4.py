"""Int4 matrices in groups of 32 numbers of a row, each group with a float16 scale and a float16 offset.

weight[o, i] = scale[o, i // 32] · number[o, i] + offset[o, i // 32], with whole numbers from 0 to 15, two in each byte:
number[o, 2j] in the low half of byte j, number[o, 2j + 1] in the high half.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from openbook.model_file.quantized_specs import GROUP
from openbook.model_file.quantized_weight import QuantizedWeight, in_groups

LARGEST = 15


class Int4Weight(QuantizedWeight):
    """A matrix (…, out, in), held as `packed` (…, out, in / 2), `scale` and `offset`, both (…, out, in / 32)."""

    @property
    def packed(self) -> Tensor:
        """Two numbers a byte."""
        return self.parts[0]

    @property
    def scale(self) -> Tensor:
        """What the numbers of each group are multiplied by."""
        return self.parts[1]

    @property
    def offset(self) -> Tensor:
        """What is then added."""
        return self.parts[2]

    @classmethod
    def shape_of(cls, *parts: Tensor) -> Sequence[int]:
        """See `QuantizedWeight.shape_of`."""
        return *parts[0].shape[:-1], parts[0].shape[-1] * 2

    @classmethod
    def floats(cls, *parts: Tensor) -> Tensor:
        """See `QuantizedWeight.floats`."""
        packed, scale, offset = parts
        numbers = in_groups(torch.stack((packed & LARGEST, packed >> 4), dim=-1).flatten(-2))
        return (numbers * scale.float()[..., None] + offset.float()[..., None]).flatten(-2)

    def numbers_at(self, *where: Tensor) -> Tensor:
        """See `QuantizedWeight.numbers_at`."""
        *rows, column = where
        byte = self.packed[(*rows, column // 2)]
        group = (*rows, column // GROUP)
        return (byte >> 4 * (column % 2) & LARGEST) * self.scale[group].float() + self.offset[group].float()


def pack_numbers(numbers: Tensor) -> Tensor:
    """Whole numbers from 0 to 15 (…, in), two a byte (…, in / 2)."""
    whole = numbers.to(torch.uint8)
    return whole[..., ::2] | whole[..., 1::2] << 4


def quantize(weight: Tensor) -> Int4Weight:
    """An int4 matrix near (…, out, in), `in` a multiple of 32.

    Of each group the least number becomes 0 and the largest 15; then scale and offset are fitted to the numbers by
    least squares, and the numbers rounded again, twice. What float16 cannot hold becomes infinite.
    """
    groups = in_groups(weight.float().contiguous())
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    scale, offset = _as_half((high - low) / LARGEST), _as_half(low)
    best = _numbers(groups, scale, offset), scale, offset
    least = _error(groups, *best)
    for _ in range(2):
        fitted = _fit(groups, best[0])
        numbers = _numbers(groups, *fitted)
        error = _error(groups, numbers, *fitted)
        better = error < least  # false for NaN
        each = zip((numbers, *fitted), best, strict=True)
        best = tuple(torch.where(better, new, old) for new, old in each)  # type: ignore[assignment]
        least = torch.minimum(error, least)
    numbers, scale, offset = best
    return Int4Weight(pack_numbers(numbers.flatten(-2)), scale.squeeze(-1).half(), offset.squeeze(-1).half())


def _as_half(x: Tensor) -> Tensor:
    """The nearest numbers that float16 has, as float32."""
    return x.half().float()


def _numbers(groups: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """The whole numbers that come nearest; 0 where a group has no scale."""
    return ((groups - offset) / torch.where(scale == 0, 1.0, scale)).round().clamp(0, LARGEST)


def _error(groups: Tensor, numbers: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    return (numbers * scale + offset - groups).square().sum(-1, keepdim=True)


def _fit(groups: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and offset of each group for which scale · numbers + offset is nearest to it, by least squares."""
    centred = numbers - numbers.mean(-1, keepdim=True)
    spread = centred.square().sum(-1, keepdim=True)
    mean = groups.mean(-1, keepdim=True)
    scale = _as_half((centred * (groups - mean)).sum(-1, keepdim=True) / torch.where(spread == 0, 1.0, spread))
    return scale, _as_half(mean - scale * numbers.mean(-1, keepdim=True))
