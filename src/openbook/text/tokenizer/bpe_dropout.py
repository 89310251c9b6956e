"""BPE-dropout: words spelled in other pieces now and then, so that a model learns what pieces have in common.

Provilkov et al. 2020, algorithm 1. Each word has a few spellings, made when it first comes; which of them stands where
follows from the seed, so a run can be repeated.
"""

import json
import random
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from openbook.errors import OpenbookError
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.word_encoder import WORD

SPELLINGS = 16
"""How many each word has; the likeliest come several times."""

Ranks = Mapping[tuple[str, str], int]
"""Which two pieces may be joined, and how early it is done."""


def spell(word: str, ranks: Ranks, dropout: float, random: Callable[[], float]) -> list[str]:
    """Join the pieces of a word, the earliest pair first; each time every pair is passed over with this probability."""
    pieces = list(word)
    while True:
        pairs = [
            (ranks[pair], place) for place, pair in enumerate(pairwise(pieces)) if pair in ranks and random() >= dropout
        ]
        if not pairs:
            return pieces
        _, place = min(pairs)
        pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]


def check_byte_pairs(*tokenizers: Tokenizer) -> None:
    """Raises OpenbookError where a tokenizer has no pairs to pass over."""
    for tokenizer in tokenizers:
        model = json.loads(tokenizer.to_json())["model"]
        if model.get("type") != "BPE" or not model.get("merges"):
            raise OpenbookError(
                "--bpe-dropout: the model's vocabulary is not of byte pairs, and no word can be spelled in others; "
                "leave it out"
            )


class BpeDropout:
    """Encodes like a byte-pair tokenizer, with dropout.

    Args:
        tokenizer: one that splits text into words before it joins bytes, as those that are learned here do.
        dropout: the probability of passing a pair over; 0 spells as the tokenizer does.
        seed: chooses the spellings.

    Raises:
        OpenbookError: the tokenizer is of another kind.
    """

    def __init__(self, tokenizer: Tokenizer, dropout: float, seed: int) -> None:
        merges, self._ids = _joins_of(tokenizer)
        self._ranks = {(left, right): rank for rank, (left, right) in enumerate(merges)}
        self._tokenizer, self._dropout, self._seed = tokenizer, dropout, seed
        self._spellings: dict[str, list[list[int]]] = {}

    def encode(self, text: str, key: int) -> list[int]:
        """Token ids of a text; the same for the same key."""
        choose = random.Random(f"{self._seed} {key}")
        ids: list[int] = []
        for word in WORD.findall(text):
            if word not in self._spellings:
                self._spellings[word] = self._spell(word)
            spellings = self._spellings[word]
            ids += spellings[int(choose.random() * len(spellings))]
        return ids

    def _spell(self, word: str) -> list[list[int]]:
        parts = self._tokenizer.split(word)
        choose = random.Random(f"{self._seed} {word}")
        return [
            [self._ids[piece] for part in parts for piece in spell(part, self._ranks, self._dropout, choose.random)]
            for _ in range(SPELLINGS)
        ]


class MergeDropout:
    """Undoes joins in text that is encoded already: a token falls apart into the two that it was joined of.

    Long texts are encoded once and learned from many times; this makes each time a little different.

    Args:
        tokenizer: a byte-pair tokenizer.

    Raises:
        OpenbookError: the tokenizer is of another kind.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        merges, ids = _joins_of(tokenizer)
        self._parts = np.full((2, max(ids.values()) + 1), -1, dtype=np.int64)
        for left, right in reversed(merges):  # where two joins make the same token, the earlier one stands
            if left + right in ids:
                self._parts[:, ids[left + right]] = ids[left], ids[right]

    def undo(
        self, ids: NDArray[np.int64], share: float, random: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Undo each join with probability `share`, then those of the parts likewise; a row keeps its length.

        Args:
            ids: (B, T).
            share: from 0 to 1.
            random: decides.

        Returns:
            ids (B, T), what is pushed out on the right being lost; and the column (B, T) that each came from.
        """
        rows, length = ids.shape
        flat, origin = ids.reshape(-1), np.arange(ids.size)
        new = np.ones(ids.size, dtype=bool)
        while new.any():
            left, right = self._parts[:, np.minimum(flat, self._parts.shape[1] - 1)]
            undone = new & (left >= 0) & (random.random(flat.size) < share)
            times = 1 + undone
            first = (np.cumsum(times) - times)[undone]
            longer = np.repeat(flat, times)
            longer[first], longer[first + 1] = left[undone], right[undone]
            flat, origin, new = longer, np.repeat(origin, times), np.repeat(undone, times)
        begins = np.searchsorted(origin, np.arange(rows) * length)
        kept = begins[:, None] + np.arange(length)
        return flat[kept], origin[kept] % length


def _joins_of(tokenizer: Tokenizer) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Which pieces are joined, the earliest first, and the number of each piece; errors as `check_byte_pairs`."""
    check_byte_pairs(tokenizer)
    model = json.loads(tokenizer.to_json())["model"]
    merges = (each.split(" ") if isinstance(each, str) else each for each in model["merges"])
    return [(left, right) for left, right in merges], model["vocab"]
