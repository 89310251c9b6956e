"""BPE dropout: words are encoded as other, smaller pieces now and then, so that a model learns what pieces share.

`BpeDropout` encodes text anew each time (Provilkov et al. 2020, algorithm 1); `MergeDropout` splits tokens that are
encoded already.
"""

import json
import random
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from openbook.errors import SettingError
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.word_encoder import WORD

SEGMENTATIONS_PER_WORD = 16
"""Sampled once for each word; likely segmentations occur several times among them."""

MergeRanks = Mapping[tuple[str, str], int]
"""Pair of pieces that may be merged → its rank; lower ranks are merged first."""


def encode_word(word: str, ranks: MergeRanks, dropout: float, random: Callable[[], float]) -> list[str]:
    """Merge the pieces of a word, the pair of lowest rank first; each time each pair is skipped with `dropout`."""
    pieces = list(word)
    while True:
        pairs = [
            (ranks[pair], index) for index, pair in enumerate(pairwise(pieces)) if pair in ranks and random() >= dropout
        ]
        if not pairs:
            return pieces
        _, index = min(pairs)
        pieces[index : index + 2] = [pieces[index] + pieces[index + 1]]


def require_bpe(*tokenizers: Tokenizer) -> None:
    """Raise OpenbookError where a tokenizer has no merges to drop."""
    for tokenizer in tokenizers:
        model = json.loads(tokenizer.to_json())["model"]
        if model.get("type") != "BPE" or not model.get("merges"):
            raise SettingError("`bpe_dropout`: the model's vocabulary is not BPE, so it has no merges; leave it out")


class BpeDropout:
    """Encodes like a BPE tokenizer, with dropout.

    Args:
        tokenizer: one that splits text into words before it merges bytes, as those that are trained here do.
        dropout: the probability of skipping a merge; 0 encodes as the tokenizer does.
        seed: chooses the segmentations.

    Raises:
        OpenbookError: the tokenizer is not BPE.
    """

    def __init__(self, tokenizer: Tokenizer, dropout: float, seed: int) -> None:
        merges, self._ids = _merges_and_ids(tokenizer)
        self._ranks = {(left, right): rank for rank, (left, right) in enumerate(merges)}
        self._tokenizer, self._dropout, self._seed = tokenizer, dropout, seed
        self._segmentations: dict[str, list[list[int]]] = {}

    def encode(self, text: str, key: int) -> list[int]:
        """Token ids of a text; the same for the same key."""
        choose = random.Random(f"{self._seed} {key}")
        ids: list[int] = []
        for word in WORD.findall(text):
            if word not in self._segmentations:
                self._segmentations[word] = self._sample(word)
            segmentations = self._segmentations[word]
            ids += segmentations[int(choose.random() * len(segmentations))]
        return ids

    def _sample(self, word: str) -> list[list[int]]:
        parts = self._tokenizer.split(word)
        choose = random.Random(f"{self._seed} {word}")
        return [
            [
                self._ids[piece]
                for part in parts
                for piece in encode_word(part, self._ranks, self._dropout, choose.random)
            ]
            for _ in range(SEGMENTATIONS_PER_WORD)
        ]


class MergeDropout:
    """Undoes merges in text that is encoded already: a token splits into the two that it was merged from.

    Long texts are encoded once and learned from many times; this makes each time a little different.

    Args:
        tokenizer: a BPE tokenizer.

    Raises:
        OpenbookError: the tokenizer is not BPE.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        merges, ids = _merges_and_ids(tokenizer)
        self._parts = np.full((2, max(ids.values()) + 1), -1, dtype=np.int64)
        for left, right in reversed(merges):  # where two merges make the same token, the earlier one counts
            if left + right in ids:
                self._parts[:, ids[left + right]] = ids[left], ids[right]

    def apply(
        self, ids: NDArray[np.int64], dropout: float, random: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Undo each merge with probability `dropout`, then those of the parts likewise; rows keep their length.

        Args:
            ids: (B, T).
            dropout: from 0 to 1.
            random: decides.

        Returns:
            ids (B, T), without what is pushed out on the right; and the column (B, T) that each came from.
        """
        rows, length = ids.shape
        flat, origin = ids.reshape(-1), np.arange(ids.size)
        new = np.ones(ids.size, dtype=bool)
        while new.any():
            left, right = self._parts[:, np.minimum(flat, self._parts.shape[1] - 1)]
            undone = new & (left >= 0) & (random.random(flat.size) < dropout)
            times = 1 + undone
            first = (np.cumsum(times) - times)[undone]
            longer = np.repeat(flat, times)
            longer[first], longer[first + 1] = left[undone], right[undone]
            flat, origin, new = longer, np.repeat(origin, times), np.repeat(undone, times)
        starts = np.searchsorted(origin, np.arange(rows) * length)
        kept = starts[:, None] + np.arange(length)
        return flat[kept], origin[kept] % length


def _merges_and_ids(tokenizer: Tokenizer) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Pairs of pieces in the order in which they are merged, and the id of each piece; raises as `require_bpe`."""
    require_bpe(tokenizer)
    model = json.loads(tokenizer.to_json())["model"]
    merges = (each.split(" ") if isinstance(each, str) else each for each in model["merges"])
    return [(left, right) for left, right in merges], model["vocab"]
