"""Rows of different lengths in one tensor: the shorter ones are padded on the left."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

NOTHING = -1
"""Stands before the tokens of shorter rows."""


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Token ids (B, T) with −1 before those of shorter rows."""
    longest = max(map(len, rows))
    return torch.tensor([[NOTHING] * (longest - len(ids)) + list(ids) for ids in rows], device=device)


def one_below_other(upper: Tensor, lower: Tensor, fill: float) -> Tensor:
    """(A, …, S) and (B, …, T) → (A + B, …, max(S, T)), with `fill` before the shorter rows."""
    longest = max(upper.shape[-1], lower.shape[-1])
    return torch.cat([F.pad(each, (longest - each.shape[-1], 0), value=fill) for each in (upper, lower)])
