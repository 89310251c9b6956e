"""The largest few of many sums: a tournament, where PyTorch would look at each number on its own."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.int64]
Sums = NDArray[np.float32]
Flags = NDArray[np.bool_]

GROUP = 16
"""Numbers that are compared with each other first, by vector instructions."""


Found = tuple[Tensor, Tensor]
"""Sums and places (B, C), largest first; number v of beam w of V each has the place w · V + v."""


class Continuations(NamedTuple):
    """The best that can follow in each row, best first: Σ log p, the beam gone on from, and the token; each (B, C)."""

    sums: Sums
    beams: Numbers
    tokens: Numbers

    @classmethod
    def of(cls, sums: Sums, places: Numbers, vocab_size: int) -> "Continuations":
        """What `largest` or `likeliest` found among so many tokens."""
        return cls(sums, places // vocab_size, places % vocab_size)


def largest(values: Tensor, added: Tensor, count: int) -> Found:
    """The `count` largest of values (B, W, V) + added (B, W) in each row, largest first; all if there are fewer.

    They stand in no more than `count` groups, those with the largest winners, and only these are searched: a quarter
    of the time of a search of all. NaN counts as larger than all else. Of equal numbers any may come first, as with
    `torch.topk`.
    """
    beams, size = values.shape[1:]
    groups = size // GROUP
    if beams * groups <= count:
        found = (values + added[..., None]).flatten(1).topk(min(count, beams * size))
        return found.values, found.indices
    # A group is every so many-th number, so that winners are found for many groups side by side.
    winners = values[..., : groups * GROUP].view(-1, beams, GROUP, groups).amax(-2) + added[..., None]
    best = winners.flatten(1).topk(count).indices
    of_group = torch.arange(0, groups * GROUP, groups, device=values.device)
    starts = best // groups * size + best % groups
    places = (starts[..., None] + of_group).flatten(1)
    if groups * GROUP < size:
        rest = torch.arange(beams * size, device=values.device).view(beams, size)[:, groups * GROUP :].flatten()
        places = torch.cat((places, rest.expand(places.shape[0], -1)), dim=1)
    sums = values.flatten(1).gather(1, places) + added.gather(1, places // size)
    found = sums.topk(count)
    return found.values, places.gather(1, found.indices)


def likeliest(logits: Tensor, sums: Tensor, never: Tensor, count: int) -> Found:
    """The `count` best continuations of beams worth `sums` (B, W), or all if there are fewer.

    Args:
        logits: (B, W, V) of the next token.
        sums: Σ log p of the beams.
        never: (N,) tokens that may not come. The others' probabilities stay the model's own.
        count: how many; the number C of what is given back.
    """
    barred = never.expand(logits.shape[0], logits.shape[1], -1)
    return largest(logits.log_softmax(-1).scatter(-1, barred, -torch.inf), sums, count)
