"""From logits to a token: functions from logits (B, V) to logits, chained by `filter_logits`, then one sample.

A token that is filtered out has the logit −∞. Every sum and comparison stays within a row, so a row's tokens do not
depend on its batch.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from openbook.generation.settings import Sampling


class History:
    """The tokens each row contains: `seen` (B, V) in prompt or answer, `produced` (B, V) in the answer alone."""

    def __init__(self, prompts: Sequence[Sequence[int]], vocab_size: int, device: torch.device) -> None:
        self.seen = torch.zeros(len(prompts), vocab_size, dtype=torch.bool, device=device)
        self.produced = torch.zeros_like(self.seen)
        for row, ids in enumerate(prompts):
            self.seen[row, list(ids)] = True

    def add(self, tokens: Tensor) -> None:
        """Add the tokens (B,) just produced."""
        self.seen.scatter_(1, tokens[:, None], True)
        self.produced.scatter_(1, tokens[:, None], True)

    def reorder(self, rows: Sequence[int]) -> None:
        """Row i becomes what row rows[i] was."""
        index = torch.tensor(rows, device=self.seen.device)
        self.seen, self.produced = self.seen[index], self.produced[index]


def repetition_penalty(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """logit / penalty of `seen` (B, V) tokens, logit · penalty if negative (Keskar et al. 2019, section 4.1)."""
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def presence_penalty(logits: Tensor, produced: Tensor, penalty: float) -> Tensor:
    """logit − penalty for each token that the answer has `produced` (B, V), however often (OpenAI's API reference)."""
    return logits - penalty * produced


def temperature(logits: Tensor, degree: float) -> Tensor:
    """(logits − max) / degree: below 1 sharpens, above 1 flattens (Ackley et al. 1985).

    Subtracting the maximum changes no probability and keeps small degrees from overflowing.
    """
    return (logits - logits.amax(-1, keepdim=True)) / max(degree, torch.finfo(logits.dtype).tiny)


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k highest logits, and any that tie with the lowest of them (Fan et al. 2018, section 5)."""
    lowest = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < lowest, -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest most probable tokens whose sum is at least p (Holtzman et al. 2020, section 3.1)."""
    ordered, tokens = logits.sort(descending=True)
    probabilities = ordered.softmax(-1)
    more_probable = probabilities.cumsum(-1) - probabilities
    dropped = more_probable >= p
    dropped[:, 0] = False
    return logits.masked_fill(torch.zeros_like(dropped).scatter(1, tokens, dropped), -torch.inf)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Keep tokens at least p times as probable as the most probable one (Nguyen et al. 2024, section 3)."""
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(p), -torch.inf)


def filter_logits(logits: Tensor, history: History, sampling: Sampling) -> Tensor:
    """Apply all penalties and filters that are on, in the order of this file."""
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


def sampling_probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities (B, V) of filtered logits: their softmax, or 1 for the highest at temperature 0 (greedy)."""
    if sampling.temperature > 0:
        return logits.softmax(-1)
    return torch.zeros_like(logits).scatter(1, logits.argmax(-1, keepdim=True), 1.0)


def sample(probabilities: Tensor, numbers: Tensor) -> Tensor:
    """A token (B,) for each row, by inverse transform sampling of its uniform random number (B,) from 0 to 1.

    One number from the row's own generator decides, so the token is the same in every batch and on every device.
    """
    cumulative = probabilities.double().cumsum(-1)
    thresholds = numbers.to(cumulative)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, thresholds, right=True)[:, 0].clamp(max=probabilities.shape[-1] - 1)
