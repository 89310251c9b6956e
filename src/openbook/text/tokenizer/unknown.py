"""What of a text its tokens do not spell. Scores price it, so that a model gains nothing by not knowing a text."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openbook.text.printable import excerpt
from openbook.text.tokenizer.tokenizer import Tokenizer

MOST_NAMES = 10_000
"""Different unknown characters or words that are counted one by one."""


class Unknown(NamedTuple):
    """How many tokens are unknown, and how many bytes of text no other token spells."""

    tokens: int
    bytes: int


NOTHING_UNKNOWN = Unknown(0, 0)


def total_unknown(parts: Iterable[Unknown]) -> Unknown:
    """All parts together."""
    tokens, lost = 0, 0
    for part in parts:
        tokens, lost = tokens + part.tokens, lost + part.bytes
    return Unknown(tokens, lost)


@lru_cache(4)
def token_lengths(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """(V,) the bytes of text that each token spells; 0 for special tokens, the unknown one included."""
    lengths = np.zeros(tokenizer.vocab_size, np.int64)
    special = {tokenizer.unknown_id, *tokenizer.special_ids.values()}
    for number in tokenizer.ids:
        if number not in special:
            lengths[number] = len(tokenizer.token_bytes(number))
    lengths.flags.writeable = False  # it is shared
    return lengths


class UnknownCounter:
    """Counts what the tokens of texts do not spell: unknown tokens, and characters that the tokenizer leaves out.

    Attributes:
        lengths: see `token_lengths`.
        names: how often each unknown character or word occurs.
    """

    def __init__(self, tokenizer: Tokenizer, named: bool = True) -> None:
        """`named`: whether to count names, which takes a second look at texts with something unknown."""
        self.lengths = token_lengths(tokenizer)
        self.names: Counter[str] = Counter()
        self._tokenizer, self._named = tokenizer, named

    def count(self, text: str, ids: Sequence[int] | NDArray[Any]) -> Unknown:
        """What of a text these ids, which encode it, do not spell."""
        found: NDArray[Any] = np.asarray(ids, np.int64)
        unknown = int((found == self._tokenizer.unknown_id).sum())
        missing = len(text.encode()) - int(self.lengths[found].sum())
        if not unknown and missing <= 0:
            return NOTHING_UNKNOWN
        if self._tokenizer.is_exact and not self._named:
            return Unknown(unknown, missing)
        unspelled = len(self._unspelled(text).encode())
        return Unknown(unknown, missing if self._tokenizer.is_exact else unspelled)

    def most_common(self, most: int = 5) -> str:
        """The most frequent unknown characters or words, with their counts; "" if there are none."""
        named = ", ".join(f"{excerpt(name)!r} {count:,}" for name, count in self.names.most_common(most))
        return named + (" …" if len(self.names) > most else "")

    def _unspelled(self, text: str) -> str:
        """The characters of unknown tokens, and all but white space that belongs to no token."""
        spelled, unknown = bytearray(len(text)), bytearray(len(text))
        for number, (start, end) in self._tokenizer.encode_with_spans(text):
            if number != self._tokenizer.unknown_id:
                spelled[start:end] = b"\1" * (end - start)
                continue
            unknown[start:end] = b"\1" * (end - start)
            if len(self.names) < MOST_NAMES or text[start:end] in self.names:
                self.names[text[start:end]] += 1
        return "".join(
            character
            for character, known, lost in zip(text, spelled, unknown, strict=True)
            if not known and (lost or not character.isspace())
        )
