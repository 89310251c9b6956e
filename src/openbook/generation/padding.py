"""Rows of different lengths in one tensor: the shorter ones are padded on the left."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = -1
"""Stands before the tokens of shorter rows."""


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Token ids (B, T) with −1 before those of shorter rows."""
    longest = max(map(len, rows))
    return torch.tensor([[PADDING] * (longest - len(ids)) + list(ids) for ids in rows], device=device)


def concat_left_padded(tensors: Sequence[Tensor], fill: float) -> Tensor:
    """The rows of several (B, …, T) in one tensor, with `fill` before the shorter ones."""
    longest = max(each.shape[-1] for each in tensors)
    return torch.cat([F.pad(each, (longest - each.shape[-1], 0), value=fill) for each in tensors])


def first_used_column(rows: Tensor) -> int:
    """The first column of token ids or positions (…, S) that is not all padding, which is negative."""
    return int((rows >= 0).flatten(0, -2).any(0).to(torch.uint8).argmax())
