"""How often each merge of a BPE tokenizer happened in a text, from how often each token occurs in it."""

import json
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from openbook.text.tokenizer.tokenizer import Tokenizer

CHUNK = 1 << 22
"""Tokens that are counted at once: the count takes 8 bytes for each of them."""


class LongArray(Protocol):
    """An array that is read a slice at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> NDArray[Any]: ...


def count_tokens(ids: LongArray, size: int) -> NDArray[np.int64]:
    """How often each of `size` tokens occurs among ids, which may be a mapped file larger than the memory."""
    counts = np.zeros(size, dtype=np.int64)
    for start in range(0, len(ids), CHUNK):
        counts += np.bincount(ids[start : start + CHUNK], minlength=size)
    return counts


def merge_counts(tokenizer: Tokenizer, occurrences: NDArray[np.int64]) -> list[int] | None:
    """For each merge, in the order of training, how often it joined its pair; None for tokenizers without merges.

    A token is the last of the merges that made it, and each of its two parts is the last of theirs.

    Args:
        tokenizer: that encoded the text.
        occurrences: (V,), how often each token occurs.
    """
    model = json.loads(tokenizer.to_json())["model"]
    if model.get("type") != "BPE" or not model.get("merges"):
        return None
    ids: dict[str, int] = model["vocab"]
    pairs = [each.split(" ") if isinstance(each, str) else each for each in model["merges"]]
    maker = {left + right: rank for rank, (left, right) in reversed(list(enumerate(pairs)))}  # the first one counts
    made = np.zeros(max(ids.values()) + 1, dtype=np.int64)
    made[: len(occurrences)] += occurrences[: len(made)]
    counts = [0] * len(pairs)
    for rank in reversed(range(len(pairs))):
        left, right = pairs[rank]
        if maker[left + right] == rank and left + right in ids:
            counts[rank] = int(made[ids[left + right]])
            for part in (left, right):
                made[ids[part]] += counts[rank]
    return counts
