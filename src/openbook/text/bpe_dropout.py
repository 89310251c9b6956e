"""BPE-dropout: words spelled in other pieces now and then, so that a model learns what pieces have in common.

Provilkov et al. 2020, algorithm 1. Each word has a few spellings, made when it first comes; which of them stands where
follows from the seed, so a run can be repeated.
"""

import json
import random
from collections.abc import Callable, Mapping
from itertools import pairwise

from openbook.errors import OpenbookError
from openbook.text.tokenizer import Tokenizer
from openbook.text.word_encoder import WORD

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
        check_byte_pairs(tokenizer)
        model = json.loads(tokenizer.to_json())["model"]
        merges = [each.split(" ") if isinstance(each, str) else each for each in model["merges"]]
        self._ranks = {(left, right): rank for rank, (left, right) in enumerate(merges)}
        self._ids: dict[str, int] = model["vocab"]
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
