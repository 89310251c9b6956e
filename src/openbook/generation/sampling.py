"""From logits to a token: functions from logits (B, V) to logits, chained by `filter_logits`, then one sample.

A token that is filtered out has the logit −∞. Every sum and comparison stays within a row, so a row's tokens do not
depend on its batch.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openbook.generation.arrays import BoolArray, FloatArray, IntArray, softmax, top_indices
from openbook.generation.settings import Sampling

TINY = 1e-9
"""A probability below which tokens are not looked for step by step."""


class History:
    """The tokens each row contains: `seen` (B, V) in prompt or answer, `produced` (B, V) how often in the answer."""

    def __init__(self, prompts: Sequence[Sequence[int]], vocab_size: int) -> None:
        self.seen = np.zeros((len(prompts), vocab_size), dtype=bool)
        self.produced = np.zeros(self.seen.shape, dtype=np.int32)
        for row, ids in enumerate(prompts):
            self.seen[row, list(ids)] = True

    def add(self, tokens: IntArray) -> None:
        """Add the tokens (B,) just produced."""
        rows = np.arange(len(tokens))
        self.seen[rows, tokens] = True
        self.produced[rows, tokens] += 1

    def reorder(self, rows: Sequence[int]) -> None:
        """Row i becomes what row rows[i] was."""
        self.seen, self.produced = self.seen[rows], self.produced[rows]


def repetition_penalty(logits: FloatArray, seen: BoolArray, penalty: float) -> FloatArray:
    """logit / penalty of `seen` (B, V) tokens, logit · penalty if negative (Keskar et al. 2019, section 4.1)."""
    factor = np.float32(penalty)
    return np.where(seen, np.where(logits < 0, logits * factor, logits / factor), logits)


def presence_penalty(logits: FloatArray, produced: NDArray[np.int32], penalty: float) -> FloatArray:
    """logit − penalty for each token that the answer has `produced` (B, V), however often (OpenAI's API reference)."""
    return logits - np.float32(penalty) * (produced > 0).astype(np.float32)


def frequency_penalty(logits: FloatArray, produced: NDArray[np.int32], penalty: float) -> FloatArray:
    """logit − penalty · how often the answer has `produced` (B, V) the token (likewise)."""
    return logits - np.float32(penalty) * produced.astype(np.float32)


def logit_bias(logits: FloatArray, biases: Sequence[tuple[int, float]]) -> FloatArray:
    """logit + bias of these tokens."""
    tokens, numbers = zip(*biases, strict=True)
    logits = logits.copy()
    logits[:, list(tokens)] += np.array(numbers, dtype=np.float32)
    return logits


def temperature(logits: FloatArray, degree: float) -> FloatArray:
    """(logits − max) / degree: below 1 sharpens, above 1 flattens (Ackley et al. 1985).

    Subtracting the maximum changes no probability and keeps small degrees from overflowing.
    """
    shifted = logits - logits.max(-1, keepdims=True)
    with np.errstate(over="ignore"):  # what overflows has no probability left
        scaled: FloatArray = shifted / np.float32(max(degree, float(np.finfo(np.float32).tiny)))
    return scaled


def top_k(logits: FloatArray, k: int) -> FloatArray:
    """Keep the k highest logits, and any that tie with the lowest of them (Fan et al. 2018, section 5)."""
    k = min(k, logits.shape[-1])
    return _at_least(logits, np.take_along_axis(logits, top_indices(logits, k)[:, -1:], -1))


def top_p(logits: FloatArray, p: float) -> FloatArray:
    """Keep the fewest most probable tokens whose sum is at least p (Holtzman et al. 2020, section 3.1)."""
    filtered = np.full_like(logits, -np.inf)
    for row, kept in enumerate(_nucleus(each, p) for each in softmax(logits)):
        filtered[row, kept] = logits[row, kept]
    return filtered


def _nucleus(probabilities: FloatArray, p: float) -> IntArray:
    """The fewest of probabilities (V,) whose sum is at least p; of equal ones the first."""
    candidates, least, mass = np.arange(len(probabilities)), float(probabilities.max()), -1.0
    while mass < p and least > 0:  # those above some least probability are enough, and far sooner sorted than all
        least = least / 8 if least > TINY else 0.0
        candidates = (probabilities >= least).nonzero()[0]
        mass = float(probabilities[candidates].sum())
    order = np.argsort(-probabilities[candidates], kind="stable")
    ordered = probabilities[candidates[order]]
    kept = ordered.cumsum() - ordered < p
    kept[0] = True
    return candidates[order[kept]]


def min_p(logits: FloatArray, p: float) -> FloatArray:
    """Keep tokens at least p times as probable as the most probable one (Nguyen et al. 2024, section 3)."""
    return _at_least(logits, logits.max(-1, keepdims=True) + np.float32(math.log(p)))


def _at_least(logits: FloatArray, lowest: FloatArray) -> FloatArray:
    """The logits (B, V) that are no lower than `lowest` (B, 1)."""
    filtered = logits.copy()
    np.copyto(filtered, -np.inf, where=logits < lowest)
    return filtered


class Filter(NamedTuple):
    """One step from logits (B, V) to logits; `on` says whether the settings use it, `sentence` what it does."""

    name: str
    on: bool
    apply: Callable[[FloatArray], FloatArray]
    sentence: str


def filters(history: History, sampling: Sampling) -> list[Filter]:
    """All penalties and filters in the order in which they are applied, those that are off too."""
    s, drawn, k = sampling, sampling.temperature > 0, sampling.top_k
    return [
        Filter(
            "logit_bias",
            bool(s.logit_bias),
            lambda x: logit_bias(x, s.logit_bias),
            f"A number is added to the logits of {len(s.logit_bias):,} tokens.",
        ),
        Filter(
            "repetition_penalty",
            s.repetition_penalty != 1,
            lambda x: repetition_penalty(x, history.seen, s.repetition_penalty),
            f"Tokens that were there already are divided (or, below 0, multiplied) by {s.repetition_penalty:g}.",
        ),
        Filter(
            "presence_penalty",
            s.presence_penalty != 0,
            lambda x: presence_penalty(x, history.produced, s.presence_penalty),
            f"{s.presence_penalty:g} is subtracted from tokens that the answer has.",
        ),
        Filter(
            "frequency_penalty",
            s.frequency_penalty != 0,
            lambda x: frequency_penalty(x, history.produced, s.frequency_penalty),
            f"{s.frequency_penalty:g} is subtracted as often as the answer has the token.",
        ),
        Filter(
            "temperature",
            drawn,
            lambda x: temperature(x, s.temperature),
            f"Distances from the largest logit are divided by {s.temperature:g}.",
        ),
        Filter(
            "top_k", drawn and k is not None, lambda x: top_k(x, k or 1), f"Only the {k or 0:,} largest logits stay."
        ),
        Filter(
            "top_p",
            drawn and s.top_p < 1,
            lambda x: top_p(x, s.top_p),
            f"The fewest most probable tokens stay that have {s.top_p:g} of the probability together.",
        ),
        Filter(
            "min_p",
            drawn and s.min_p > 0,
            lambda x: min_p(x, s.min_p),
            f"Tokens stay that are at least {s.min_p:g} times as probable as the most probable one.",
        ),
    ]


def filter_logits(logits: FloatArray, history: History, sampling: Sampling) -> FloatArray:
    """Apply all penalties and filters that are on, in the order of `filters`."""
    for each in filters(history, sampling):
        if each.on:
            logits = each.apply(logits)
    return logits


def sampling_probabilities(logits: FloatArray, sampling: Sampling) -> FloatArray:
    """Probabilities (B, V) of filtered logits: their softmax, or 1 for the highest at temperature 0 (greedy).

    Only what is left is summed: mostly a few of a large vocabulary.
    """
    probabilities = np.zeros_like(logits)
    if sampling.temperature > 0:
        for row, each in enumerate(logits):
            left = (each > -np.inf).nonzero()[0]
            probabilities[row, left] = softmax(each[left])
    else:
        probabilities[np.arange(len(logits)), logits.argmax(-1)] = 1
    return probabilities


def sample(probabilities: FloatArray, numbers: FloatArray) -> IntArray:
    """A token (B,) for each row, by inverse transform sampling of its uniform random number (B,) from 0 to 1.

    One number from the row's own generator decides, so the token is the same in every batch.
    """
    tokens = []
    for row, number in zip(probabilities, numbers, strict=True):
        possible = (row > 0).nonzero()[0]  # the others add nothing
        cumulative = row[possible].cumsum(dtype=np.float64)
        place = int(np.searchsorted(cumulative, number * cumulative[-1], side="right"))
        tokens.append(possible[min(place, len(possible) - 1)])
    return np.array(tokens, dtype=np.int64)
