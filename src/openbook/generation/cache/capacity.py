"""Buffers with room for more columns, so that a step writes into them and copies nothing."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_SPARE_COLUMNS = 8
"""Columns to spare when a cache grows, or a quarter of those it holds if that is more; likewise when rows join."""


class Capacity:
    """How many columns there is room for; shared by the buffers of all layers, which grow together."""

    def __init__(self, columns: int) -> None:
        self.columns = columns

    def ensure(self, needed: int) -> None:
        """Make room for at least so many columns, and some to spare."""
        if self.columns < needed:
            self.columns = needed + max(MIN_SPARE_COLUMNS, needed // 4)

    def pad(self, values: Tensor, fill: float) -> Tensor:
        """values (…, S) in a buffer of `columns` columns; the same tensor if it has as many."""
        missing = self.columns - values.shape[-1]
        return F.pad(values, (0, missing), value=fill) if missing else values


def concat_left_padded(tensors: Sequence[Tensor], fill: float) -> Tensor:
    """The rows of several (B, …, S) in one tensor, with `fill` before the shorter ones."""
    longest = max(each.shape[-1] for each in tensors)
    return torch.cat([F.pad(each, (longest - each.shape[-1], 0), value=fill) for each in tensors])


def first_used_column(positions: Tensor) -> int:
    """The first column of positions (B, S) that is not all padding, which is negative."""
    return int((positions >= 0).any(0).to(torch.uint8).argmax())
