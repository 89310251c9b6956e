"""The top k of a beam search's continuations: a tournament, where `torch.topk` looks at every number on its own."""

import torch
from torch import Tensor

GROUP = 16
"""Numbers that vector instructions compare first; only the winners of groups are ranked."""


TopK = tuple[Tensor, Tensor]
"""Values and flat indices (B, C), largest first; number v of beam w has the index w · V + v."""


def grouped_topk(values: Tensor, offsets: Tensor, count: int) -> TopK:
    """The `count` largest of values (B, W, V) + offsets (B, W) in each row, largest first; all if there are fewer.

    They lie in at most `count` groups, those with the largest winners, and only these are searched: a quarter of the
    time of searching everything. NaN counts as larger than all else. Ties fall either way, as with `torch.topk`.
    """
    beams, size = values.shape[1:]
    groups = size // GROUP
    if beams * groups <= count:
        found = (values + offsets[..., None]).flatten(1).topk(min(count, beams * size))
        return found.values, found.indices
    # A group is every `groups`-th number, so that the winners of many groups are found side by side.
    winners = values[..., : groups * GROUP].view(-1, beams, GROUP, groups).amax(-2) + offsets[..., None]
    best = winners.flatten(1).topk(count).indices
    of_group = torch.arange(0, groups * GROUP, groups, device=values.device)
    starts = best // groups * size + best % groups
    indices = (starts[..., None] + of_group).flatten(1)
    if groups * GROUP < size:
        rest = torch.arange(beams * size, device=values.device).view(beams, size)[:, groups * GROUP :].flatten()
        indices = torch.cat((indices, rest.expand(indices.shape[0], -1)), dim=1)
    sums = values.flatten(1).gather(1, indices) + offsets.gather(1, indices // size)
    found = sums.topk(count)
    return found.values, indices.gather(1, found.indices)


def best_continuations(logits: Tensor, log_probs: Tensor, suppressed: Tensor, count: int) -> TopK:
    """The `count` most probable continuations of each row's beams, or all if there are fewer.

    Args:
        logits: (B, W, V) of the next token.
        log_probs: (B, W) Σ log p of the beams.
        suppressed: (N,) tokens that may not come. The others keep the model's probabilities.
        count: the number C of continuations.
    """
    forbidden = suppressed.expand(logits.shape[0], logits.shape[1], -1)
    return grouped_topk(logits.log_softmax(-1).scatter(-1, forbidden, -torch.inf), log_probs, count)
