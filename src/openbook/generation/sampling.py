"""From logits to a token: functions that each take and give logits (B, V), chained by `filtered`, then one draw.

A token that is ruled out has the logit −∞. Sums and comparisons are row by row, so no row's choice depends on the
rows beside it.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from openbook.generation.settings import Sampling


class History:
    """Which tokens each row holds already: `seen` (B, V) in prompt or answer, `produced` (B, V) in the answer."""

    def __init__(self, prompts: list[list[int]], vocab_size: int, device: torch.device) -> None:
        self.seen = torch.zeros(len(prompts), vocab_size, dtype=torch.bool, device=device)
        self.produced = torch.zeros_like(self.seen)
        for row, ids in enumerate(prompts):
            self.seen[row, ids] = True

    def add(self, tokens: Tensor) -> None:
        """Note the tokens (B,) just produced."""
        self.seen.scatter_(1, tokens[:, None], True)
        self.produced.scatter_(1, tokens[:, None], True)

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was."""
        self.seen, self.produced = self.seen[rows], self.produced[rows]


def repetition_penalty(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """logit / penalty of `seen` (B, V) tokens, logit · penalty if negative (Keskar et al. 2019, section 4.1)."""
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def presence_penalty(logits: Tensor, produced: Tensor, penalty: float) -> Tensor:
    """logit − penalty for each token that the answer has `produced` (B, V), however often (OpenAI's API reference)."""
    return logits - penalty * produced


def temperature(logits: Tensor, degree: float) -> Tensor:
    """(logits − max) / degree: below 1 sharpens, above 1 flattens (Ackley et al. 1985).

    Taking off the maximum changes no probability and keeps small degrees from overflowing.
    """
    return (logits - logits.amax(-1, keepdim=True)) / max(degree, torch.finfo(logits.dtype).tiny)


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k highest logits, and what equals the lowest of them (Fan et al. 2018, section 5)."""
    lowest = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < lowest, -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest tokens, most probable first, that make up at least p (Holtzman et al. 2020, section 3.1)."""
    ordered, places = logits.sort(descending=True)
    probabilities = ordered.softmax(-1)
    more_probable = probabilities.cumsum(-1) - probabilities
    dropped = more_probable >= p
    dropped[:, 0] = False
    return logits.masked_fill(torch.zeros_like(dropped).scatter(1, places, dropped), -torch.inf)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Keep tokens at least p times as probable as the most probable one (Nguyen et al. 2024, section 3)."""
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(p), -torch.inf)


def filtered(logits: Tensor, history: History, sampling: Sampling) -> Tensor:
    """All that `sampling` asks for, in the order of this file."""
    chain: list[Callable[[Tensor], Tensor]] = []
    if sampling.repetition_penalty != 1:
        chain.append(lambda x: repetition_penalty(x, history.seen, sampling.repetition_penalty))
    if sampling.presence_penalty != 0:
        chain.append(lambda x: presence_penalty(x, history.produced, sampling.presence_penalty))
    if sampling.temperature > 0:
        chain.append(lambda x: temperature(x, sampling.temperature))
        if sampling.top_k is not None:
            k = sampling.top_k
            chain.append(lambda x: top_k(x, k))
        if sampling.top_p < 1:
            chain.append(lambda x: top_p(x, sampling.top_p))
        if sampling.min_p > 0:
            chain.append(lambda x: min_p(x, sampling.min_p))
    for function in chain:
        logits = function(logits)
    return logits


def chances(logits: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities (B, V) of filtered logits: softmax, or all on the highest one at temperature 0."""
    if sampling.temperature > 0:
        return logits.softmax(-1)
    return torch.zeros_like(logits).scatter(1, logits.argmax(-1, keepdim=True), 1.0)


def draw(probabilities: Tensor, numbers: Tensor) -> Tensor:
    """The token (B,) whose share of the line from 0 to 1 the row's random number (B,) falls on.

    One number from the row's own generator makes the choice, so it is the same in every batch and on every device.
    """
    cumulative = probabilities.double().cumsum(-1)
    places = numbers.to(cumulative)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, places, right=True)[:, 0].clamp(max=probabilities.shape[-1] - 1)
