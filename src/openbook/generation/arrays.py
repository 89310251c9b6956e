"""Arrays that decoding works on: NumPy's, so that answering needs no PyTorch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
GROUP = 32
"""Numbers of which only the largest is compared first."""


def softmax(x: FloatArray) -> FloatArray:
    """exp(x) / Σ exp(x) over the last axis; −∞ gives 0."""
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    probabilities: FloatArray = exponentials / exponentials.sum(-1, keepdims=True)
    return probabilities


def log_softmax(x: FloatArray) -> FloatArray:
    """log softmax(x) over the last axis."""
    shifted = x - x.max(-1, keepdims=True)
    log_probabilities: FloatArray = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return log_probabilities


def top_indices(values: NDArray[np.floating[Any]], count: int) -> IntArray:
    """Indices (B, C) of the largest `count` of values (B, V), largest first; of equal ones the first."""
    count = min(count, values.shape[-1])
    return np.array([_top_of_row(row, count) for row in values], dtype=np.int64)


def _top_of_row(row: NDArray[np.floating[Any]], count: int) -> IntArray:
    """Those of values (V,). Few of many are no smaller than the winners of as many groups: only these are sorted."""
    groups, winners = len(row) // GROUP, row
    if count <= groups:
        # A group is every so many-th number, so that the winners of many groups are found side by side.
        winners = row[: groups * GROUP].reshape(GROUP, groups).max(0)
    least = np.partition(winners, len(winners) - count)[len(winners) - count]
    found = (row >= least).nonzero()[0]
    if len(found) < count:  # NaN is no smaller and no larger than anything
        found = np.arange(len(row))
    return found[np.argsort(-row[found], kind="stable")[:count]]
