"""Batches of pairs that are about as long: which pairs an update learns from is a function of the seed and its number.

Padding is work for nothing, so each part of a batch holds pairs of like lengths. Which pairs come together and in which
order changes from epoch to epoch; where the parts begin and end does not, so no past has to be replayed to resume.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openbook.training.data.windows import shuffled

STEP = 4
"""Lengths that differ by less count as alike."""


@dataclass(frozen=True)
class Parts:
    """All pairs, cut into parts of like lengths.

    Args:
        lengths: tokens of each side of each pair (pairs, sides).
        tokens: how many tokens, padding included, the longest side of a part may have.
        seed: chooses who comes with whom, and in what order.
    """

    lengths: NDArray[np.int64]
    tokens: int
    seed: int

    @cached_property
    def _alike(self) -> NDArray[np.int64]:
        """(pairs, sides): lengths, rounded up. The last side counts first."""
        return -(-self.lengths // STEP) * STEP

    @cached_property
    def cuts(self) -> NDArray[np.int64]:
        """(parts + 1): where parts begin among the pairs in the order of their lengths."""
        order = np.lexsort(self._alike.T)
        longest = self._alike.max(axis=1)[order].tolist()
        cuts, widest = [0], 0
        for place, length in enumerate(longest):
            widest = max(widest, length)
            if (place + 1 - cuts[-1]) * widest > self.tokens and place > cuts[-1]:
                cuts.append(place)
                widest = length
        return np.array([*cuts, len(longest)], np.int64)

    @property
    def per_epoch(self) -> int:
        """How many parts there are."""
        return len(self.cuts) - 1

    def numbers(self, first: int, count: int) -> list[NDArray[np.int64]]:
        """The pairs of `count` parts from number `first` on, counted through all epochs."""
        parts = []
        for number in range(first, first + count):
            epoch, within = divmod(number, self.per_epoch)
            place = int(shuffled(np.array([within]), self.per_epoch, self.seed * 1_000_003 + epoch)[0])
            parts.append(self._order(epoch)[self.cuts[place] : self.cuts[place + 1]])
        return parts

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """All pairs in the order of their lengths; those of like lengths in an order of this epoch's own."""
        if self._latest[0] != epoch:
            random = np.random.default_rng([self.seed, epoch]).random(len(self.lengths))
            self._latest[:] = epoch, np.lexsort((random, *self._alike.T))
        return self._latest[1]

    @cached_property
    def _latest(self) -> list:  # type: ignore[type-arg]
        return [-1, np.empty(0, np.int64)]


def padded(rows: Sequence[NDArray[np.int64]], fill: int) -> Tensor:
    """Rows of any lengths side by side, (B, T), filled up on the right."""
    out = np.full((len(rows), max(map(len, rows))), fill, np.int64)
    for place, row in enumerate(rows):
        out[place, : len(row)] = row
    return torch.from_numpy(out)
