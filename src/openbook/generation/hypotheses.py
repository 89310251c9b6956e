"""What a search works on and what it finds: requests, finished hypotheses, the n best of a row."""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from openbook.generation.generate import FinishReason
from openbook.generation.settings import BeamSearch

TextOf = Callable[[Sequence[int]], str]
"""What the tokens of a sequence read as."""


@dataclass(frozen=True)
class DecodingRequest:
    """One row to decode: prompt ids, for an encoder-decoder the source, and the most tokens it may produce.

    `row` is the caller's number for it; a `limit` of None stands for the settings' max_tokens.
    """

    row: int
    ids: Sequence[int]
    source: Sequence[int] | None = None
    limit: int | None = None

    @property
    def length(self) -> int:
        """Tokens to read before the first is produced."""
        return len(self.ids if self.source is None else self.source)


@dataclass(frozen=True)
class Hypothesis:
    """A finished sequence: the tokens produced, end token included, Σ log p, the score, and why it ended."""

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    finish_reason: FinishReason


class SearchResult(NamedTuple):
    """The n-best hypotheses of request `row`, best first."""

    row: int
    hypotheses: tuple[Hypothesis, ...]


class NBest:
    """The best finished hypotheses of one row so far; decides when its search is over."""

    def __init__(self, row: int, limit: int, settings: BeamSearch, text_of: TextOf | None = None) -> None:
        """`text_of`: what a sequence reads as; of those that read alike the best is kept. None keeps them all."""
        self.row, self.limit, self._settings = row, limit, settings
        self._text_of = text_of if settings.n_best > 1 else None
        self._texts: dict[tuple[int, ...], str] = {}
        self._finished: list[Hypothesis] = []

    def add(self, hypothesis: Hypothesis) -> None:
        """Keep it if it is among the `beam_size` best, and better than any that reads alike."""
        if self._text_of is not None:
            text = self._texts[hypothesis.tokens] = self._text_of(hypothesis.tokens)
            alike = [each for each in self._finished if self._texts[each.tokens] == text]
            if any(each.score >= hypothesis.score for each in alike):
                return
            self._finished = [each for each in self._finished if each not in alike]
        bisect.insort(self._finished, hypothesis, key=lambda each: -each.score)
        del self._finished[self._settings.beam_size :]

    @property
    def result(self) -> SearchResult:
        """What the search has found."""
        return SearchResult(self.row, tuple(self._finished[: self._settings.n_best]))

    @property
    def _wanted(self) -> int:
        return self._settings.n_best if self._settings.early_stopping == "never" else self._settings.beam_size

    @property
    def has_enough(self) -> bool:
        """Whether enough hypotheses are finished to stop, unless an open beam could be better."""
        return len(self._finished) >= self._wanted

    def is_done(self, best_open: float, produced: int) -> bool:
        """Whether the search is over after `produced` tokens, where `best_open` is the best open beam's Σ log p."""
        if best_open == -math.inf or produced >= self.limit:
            return True
        if not self.has_enough:
            return False
        if self._settings.early_stopping == "always" or self._settings.beam_size == 1:
            return True
        reachable = self._settings.score(best_open, self._best_length(produced))
        return reachable <= self._finished[self._wanted - 1].score

    def _best_length(self, produced: int) -> int:
        """The length at which an open beam would score best.

        Sums only fall, so length alone raises a score: at the limit, or for a negative penalty with the next token.
        """
        if self._settings.early_stopping == "never":
            return self.limit if self._settings.length_penalty > 0 else produced + 1
        return produced
