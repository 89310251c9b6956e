"""Arrays that decoding works on: NumPy's, so that answering needs no PyTorch."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Floats = TypeVar("Floats", bound=NDArray[np.floating[Any]])


def softmax(x: FloatArray) -> FloatArray:
    """exp(x) / Σ exp(x) over the last axis; −∞ gives 0."""
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    probabilities: FloatArray = exponentials / exponentials.sum(-1, keepdims=True)
    return probabilities


def log_softmax(x: Floats) -> Floats:
    """log softmax(x) over the last axis."""
    shifted = x - x.max(-1, keepdims=True)
    log_probabilities: Floats = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return log_probabilities


def top_indices(values: NDArray[np.floating[Any]], count: int) -> IntArray:
    """Indices (B, C) of the largest `count` of values (B, V), largest first; of equal ones the first."""
    count = min(count, values.shape[-1])
    found = np.argpartition(-values, count - 1, axis=-1)[:, :count]
    found.sort(axis=-1)  # so that the stable sort below takes the first of equal values
    order = np.argsort(-np.take_along_axis(values, found, -1), axis=-1, kind="stable")
    return np.take_along_axis(found, order, -1)
