"""Encodes large texts word by word: most words of a book occur again, so each is encoded once and then looked up.

This takes a third of the time of encoding the text as a whole, most of which goes into splitting it into words.
"""

import re
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.unknown import token_lengths

CACHE_CHARACTERS = 4 << 20
"""The cache is emptied when its words have more characters together."""

# Pre-tokenizers cut before the white space in front of a word, except that a line end may belong to what precedes it.
# (Python counts the separators \x1c to \x1f as white space; the tokenizers library does not.)
SPACE, VISIBLE = r"[^\S\x1c-\x1f]", r"[\S\x1c-\x1f]"
WORD = re.compile(rf"{SPACE}*{VISIBLE}+(?:{SPACE}*[\r\n])?|{SPACE}+")

JOINED_WORDS = 2000
"""Words that are encoded as one text."""

TokenIds = NDArray[np.uint32]


class WordEncoder:
    """Encodes like the tokenizer, but faster; falls back to the tokenizer where words would change its tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._words = _Words()
        self._words_are_safe: bool | None = False if tokenizer.begins_with_space else None

    def encode_batch(self, texts: list[str]) -> list[TokenIds]:
        """Token ids of each text."""
        if self._words_are_safe is None and any(texts):
            sample = next(text for text in texts if text)
            self._words_are_safe = self._encode_words([sample])[0].tolist() == self._tokenizer.encode(sample)
        if self._words_are_safe:
            return self._encode_words(texts)
        return [np.array(ids, np.uint32) for ids in self._tokenizer.encode_batch(texts)]

    def _encode_words(self, texts: list[str]) -> list[TokenIds]:
        found = [split_words(text) for text in texts]
        if self._words.characters > CACHE_CHARACTERS:
            self._words = _Words()
        words = self._words
        counts = np.array([len(each) for each in found], np.intp)
        looked_up = map(words.numbers.__getitem__, chain.from_iterable(found))
        numbers = np.fromiter(looked_up, np.intp, int(counts.sum()))
        words.encode_new(self._tokenizer)
        lengths = words.lengths[numbers]
        ends = np.concatenate(([0], np.cumsum(lengths)))
        # The tokens of a word lie one behind the other among those of all words.
        ids = words.ids[np.repeat(words.starts[numbers] - ends[:-1], lengths) + np.arange(ends[-1])]
        return np.split(ids, ends[np.cumsum(counts)[:-1]]) if texts else []


def split_words(text: str) -> list[str]:
    """A text in pieces that are encoded one by one: words with the space before them and the line ends behind them."""
    usual = text.replace("\n", "").isprintable()  # no white space but spaces and line ends
    if not usual or "  " in text or " \n" in text or "\n " in text:
        return WORD.findall(text)
    words = text.replace(" ", "\0 ").replace("\n", "\n\0").replace("\0\n", "\n").split("\0")  # several times as fast
    return words[not words[0] : len(words) - (len(words) > 1 and not words[-1])]


class _Words:
    """The words found so far and their tokens.

    Attributes:
        numbers: the number of each word; one that is looked up for the first time is numbered.
        lengths: (words) tokens of each.
        starts: (words) where they begin in `ids`.
        ids: the tokens of all words.
        characters: in all words.
    """

    def __init__(self) -> None:
        self.numbers = _Numbers()
        self.lengths = self.starts = np.empty(0, np.intp)
        self.ids: TokenIds = np.empty(0, np.uint32)
        self.characters = 0

    def encode_new(self, tokenizer: Tokenizer) -> None:
        """Encode the words that were numbered since the last time."""
        new = self.numbers.new
        if not new:
            return
        order, ids, lengths = _encode_each(tokenizer, new)
        starts = np.empty_like(lengths)
        starts[order] = len(self.ids) + np.cumsum(lengths[order]) - lengths[order]
        self.starts = np.concatenate((self.starts, starts))
        self.lengths = np.concatenate((self.lengths, lengths))
        self.ids = np.concatenate((self.ids, ids))
        self.characters += sum(map(len, new))
        new.clear()


def _encode_each(tokenizer: Tokenizer, words: list[str]) -> tuple[NDArray[np.intp], TokenIds, NDArray[np.intp]]:
    """The order in which the tokens of words follow one another, the tokens, and how many each word has.

    Words that begin with their only space are encoded together, as one text, which takes half the time. How many bytes
    the tokens spell tells where a word ends.
    """
    together: list[int] = []
    if tokenizer.is_exact and tokenizer.unknown_id is None:
        together = [number for number, word in enumerate(words) if _begins_with_its_only_space(word)]
    groups = [together[first : first + JOINED_WORDS] for first in range(0, len(together), JOINED_WORDS)]
    alone = sorted(set(range(len(words))).difference(together))
    texts = ["".join(words[number] for number in group) for group in groups]
    encoded = tokenizer.encode_batch([*texts, *(words[number] for number in alone)])
    lengths = np.zeros(len(words), np.intp)
    parts = [np.empty(0, np.uint32)]
    spelled = token_lengths(tokenizer)
    for group, ids in zip(groups, encoded, strict=False):
        part = np.array(ids, np.uint32)
        ends, word_ends = np.cumsum(spelled[part]), np.cumsum([len(words[number].encode()) for number in group])
        last = np.searchsorted(ends, word_ends)
        if not np.array_equal(ends[np.minimum(last, len(ends) - 1)], word_ends):  # a token of two words
            each = tokenizer.encode_batch([words[number] for number in group])
            lengths[group] = [len(ids) for ids in each]
            parts.append(np.fromiter(chain.from_iterable(each), np.uint32))
            continue
        lengths[group] = np.diff(last, prepend=-1)
        parts.append(part)
    lengths[alone] = [len(ids) for ids in encoded[len(groups) :]]
    parts.append(np.fromiter(chain.from_iterable(encoded[len(groups) :]), np.uint32))
    order = np.array([*together, *alone], np.intp)
    return order, np.concatenate(parts), lengths


def _begins_with_its_only_space(word: str) -> bool:
    return word[0] == " " and len(word) > 1 and word.isprintable() and " " not in word[1:]


class _Numbers(dict[str, int]):
    """Word → number, with the words that are new."""

    def __init__(self) -> None:
        self.new: list[str] = []

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        self.new.append(word)
        return number
