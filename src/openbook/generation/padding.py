"""Rows of different lengths in one array: the shorter ones are padded on the left."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from openbook.generation.arrays import IntArray

PADDING = -1
"""Stands before the tokens of shorter rows."""


def left_padded(rows: Sequence[Sequence[int]]) -> IntArray:
    """Token ids (B, T) with −1 before those of shorter rows."""
    longest = max(map(len, rows))
    return np.array([[PADDING] * (longest - len(ids)) + list(ids) for ids in rows], dtype=np.int64)


def concat_left_padded(arrays: Sequence[Any], fill: float) -> Any:
    """The rows of several (B, …, T) in one array, with `fill` before the shorter ones."""
    longest = max(each.shape[-1] for each in arrays)
    padded = [
        np.pad(each, [(0, 0)] * (each.ndim - 1) + [(longest - each.shape[-1], 0)], constant_values=fill)
        for each in arrays
    ]
    return np.concatenate(padded)


def first_used_column(rows: IntArray) -> int:
    """The first column of token ids or positions (…, S) that is not all padding, which is negative."""
    return int((rows >= 0).reshape(-1, rows.shape[-1]).any(0).argmax())
