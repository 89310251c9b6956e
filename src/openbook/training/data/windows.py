"""Windows of tokens to learn from: the batch of a step is a function of the seed and the step alone.

So a run can be resumed anywhere with nothing but the step's number, and ranks of a distributed run agree on
who takes which window without talking.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openbook.text.tokenizer.bpe_dropout import MergeDropout

Tokens = NDArray[np.uint16] | NDArray[np.uint32]


def shuffled(index: NDArray[np.int64], size: int, key: int) -> NDArray[np.int64]:
    """Where a permutation of 0 … size − 1, chosen by `key`, sends each index; memory does not grow with `size`.

    A four-round Feistel network over the next even power of two, walked until it lands inside (Black & Rogaway 2002).
    """
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    low = np.uint64((1 << int(half)) - 1)
    rounds = np.random.default_rng([key, size]).integers(1, 2**63, size=4, dtype=np.uint64) | np.uint64(1)
    value = index.astype(np.uint64)
    outside = np.ones(value.shape, dtype=bool)
    while outside.any():
        left, right = value[outside] >> half, value[outside] & low
        for odd in rounds:
            mixed = (right + np.uint64(1)) * odd
            left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(29))) >> np.uint64(17)) & low
        value[outside] = (left << half) | right
        outside = value >= size
    return value.astype(np.int64)


def visited(step: int, rows: int, per_epoch: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of `per_epoch` rows the step sees: the epoch of each and its place, both (rows,).

    Each epoch visits every row once, in an order of its own.
    """
    number = step * rows + np.arange(rows)
    epoch, within = number // per_epoch, number % per_epoch
    place = np.empty(rows, dtype=np.int64)
    for each in np.unique(epoch):
        chosen = epoch == each
        place[chosen] = shuffled(within[chosen], per_epoch, seed * 1_000_003 + int(each))
    return epoch, place


@dataclass(frozen=True)
class Windows:
    """Windows of `context` tokens and the one that follows, cut from one long row of tokens.

    Each epoch visits every window once, in an order and from an offset of its own. With `joins`, each time some words
    are spelled in other pieces: a share `undone` of the joins that made the tokens is undone.
    """

    tokens: Tokens
    context: int
    seed: int
    joins: MergeDropout | None = None
    undone: float = 0.0

    @property
    def per_epoch(self) -> int:
        """How many windows an epoch has, at least 1."""
        return max(1, (len(self.tokens) - 1) // self.context - 1)

    def starts(self, step: int, rows: int) -> NDArray[np.int64]:
        """Where the windows of step number `step` begin, (rows,)."""
        epoch, place = visited(step, rows, self.per_epoch, self.seed)
        starts = place * self.context
        room = len(self.tokens) - 1 - self.context * self.per_epoch
        for each in np.unique(epoch):
            starts[epoch == each] += np.random.default_rng([self.seed, int(each)]).integers(0, max(1, room + 1))
        return starts

    def batch(self, step: int, rows: int, rank: int = 0, world: int = 1) -> Tensor:
        """This rank's share of a step's `rows` windows: ids (rows / world, T + 1)."""
        return self.at(self.starts(step, rows)[rank::world], step)[0]

    def at(self, starts: NDArray[np.int64], step: int) -> tuple[Tensor, NDArray[np.int64]]:
        """The windows that begin at `starts` (B,): ids (B, T + 1), and where in the row of tokens each stands.

        With `joins`, the step decides which of them are undone.
        """
        length = min(self.context + 1, len(self.tokens))
        places = starts[:, None] + np.arange(length)
        ids = self.tokens[places].astype(np.int64)
        if self.joins is not None:
            random = np.random.default_rng([self.seed, step, *starts])
            ids, columns = self.joins.undo(ids, self.undone, random)
            places = starts[:, None] + columns
        return torch.from_numpy(ids), places


def documents_at(places: NDArray[np.int64], first_tokens: NDArray[np.int64]) -> Tensor:
    """The document that the token at each place (B, T) belongs to; `first_tokens` are where documents begin."""
    return torch.from_numpy(np.searchsorted(first_tokens, places, side="right"))
