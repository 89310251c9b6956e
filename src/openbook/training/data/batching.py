"""Which examples a step learns from, in what order, and how sequences of unlike lengths share a batch.

What a step sees is a function of the seed and the step's number. So a run resumes anywhere without replaying its past,
on any number of processes, which agree on their shares without talking.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

LENGTH_MULTIPLE = 4
"""Lengths are rounded up to this multiple before they are compared, so that more sequences count as equally long."""


def permute(indices: NDArray[np.int64], size: int, key: int) -> NDArray[np.int64]:
    """Where a permutation of 0 … size − 1, chosen by `key`, sends each index. Memory does not grow with `size`.

    A four-round Feistel network over the next even power of two, repeated until the value is below `size` ("cycle
    walking", Black & Rogaway 2002).
    """
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    low = np.uint64((1 << int(half)) - 1)
    rounds = np.random.default_rng([key, size]).integers(1, 2**63, size=4, dtype=np.uint64) | np.uint64(1)
    value = indices.astype(np.uint64)
    outside = np.ones(value.shape, dtype=bool)
    while outside.any():
        left, right = value[outside] >> half, value[outside] & low
        for odd in rounds:
            mixed = (right + np.uint64(1)) * odd
            left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(29))) >> np.uint64(17)) & low
        value[outside] = (left << half) | right
        outside = value >= size
    return value.astype(np.int64)


def epoch_key(seed: int, epoch: int) -> int:
    """The key of an epoch's permutation."""
    return seed * 1_000_003 + epoch


def step_indices(step: int, batch_size: int, per_epoch: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The examples of a step, of `per_epoch` in all: the epoch and the index of each, both (batch_size,).

    Each epoch visits every example once, in an order of its own.
    """
    number = step * batch_size + np.arange(batch_size)
    epochs, within = number // per_epoch, number % per_epoch
    indices = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        indices[chosen] = permute(within[chosen], per_epoch, epoch_key(seed, int(epoch)))
    return epochs, indices


@dataclass(frozen=True)
class LengthGroupedSampler:
    """Cuts all examples into batches of similar length, so that little of a batch is padding.

    Which examples share a batch, and the order of the batches, change from epoch to epoch. The lengths between which a
    batch lies do not, so any batch can be found from its number alone.

    Args:
        lengths: (examples, sequences) tokens: one sequence an example, or a source and a target.
        max_tokens: the most tokens, padding included, of a batch's longest sequence.
        seed: of the order.
    """

    lengths: NDArray[np.int64]
    max_tokens: int
    seed: int

    @cached_property
    def _rounded(self) -> NDArray[np.int64]:
        """(examples, sequences): lengths, rounded up. Examples are sorted by the last sequence first."""
        return -(-self.lengths // LENGTH_MULTIPLE) * LENGTH_MULTIPLE

    @cached_property
    def boundaries(self) -> NDArray[np.int64]:
        """(batches + 1): where batches begin among the examples sorted by length, and the number of examples."""
        longest = self._rounded.max(axis=1)[np.lexsort(self._rounded.T)].tolist()
        boundaries, widest = [0], 0
        for place, length in enumerate(longest):
            widest = max(widest, length)
            if (place + 1 - boundaries[-1]) * widest > self.max_tokens and place > boundaries[-1]:
                boundaries.append(place)
                widest = length
        return np.array([*boundaries, len(longest)], np.int64)

    @property
    def batches_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return len(self.boundaries) - 1

    def batches(self, first: int, count: int) -> list[NDArray[np.int64]]:
        """The examples of `count` batches from number `first` on, numbered through all epochs."""
        batches = []
        for number in range(first, first + count):
            epoch, within = divmod(number, self.batches_per_epoch)
            place = int(permute(np.array([within]), self.batches_per_epoch, epoch_key(self.seed, epoch))[0])
            batches.append(self._sorted(epoch)[self.boundaries[place] : self.boundaries[place + 1]])
        return batches

    def _sorted(self, epoch: int) -> NDArray[np.int64]:
        """All examples by length, those of equal length in an order of this epoch's own."""
        if self._latest[0] != epoch:
            random = np.random.default_rng([self.seed, epoch]).random(len(self.lengths))
            self._latest[:] = epoch, np.lexsort((random, *self._rounded.T))
        return self._latest[1]

    @cached_property
    def _latest(self) -> list:  # type: ignore[type-arg]
        """The epoch that was sorted last, and its order."""
        return [-1, np.empty(0, np.int64)]


def pad(rows: Sequence[NDArray[np.int64]], value: int) -> Tensor:
    """Rows of any lengths as one tensor (B, T), padded on the right with `value`."""
    return pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True, padding_value=value)


def pack(lengths: NDArray[np.int64], capacity: int) -> list[NDArray[np.int64]]:
    """Pack sequences into rows of `capacity` tokens: the longest first, each into the fullest row that has room.

    Best-fit decreasing takes at most 11/9 of the fewest possible rows, and six more (Johnson et al. 1974).

    Args:
        lengths: (sequences,) tokens of each, at most `capacity`.
        capacity: tokens of a row.

    Returns:
        for each row the indices of its sequences.
    """
    rows: list[list[int]] = []
    open_rows: list[tuple[int, int]] = []  # (free tokens, row), the fullest first
    for index in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[index])
        place = bisect_left(open_rows, (length, -1))
        if place < len(open_rows):
            free, row = open_rows.pop(place)
        else:
            free, row = capacity, len(rows)
            rows.append([])
        rows[row].append(index)
        if free > length:
            insort(open_rows, (free - length, row))
    return [np.array(row, np.int64) for row in rows]
