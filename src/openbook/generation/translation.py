"""Sentences in, translations out, in order: encoded, decoded many at once, and whatever cannot be is reported."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from openbook.errors import OpenbookError
from openbook.generation.batching import in_order
from openbook.generation.beam import Hypothesis, beam_search
from openbook.generation.engine import Engine
from openbook.generation.generate import generate
from openbook.generation.settings import Beams, Sampling
from openbook.generation.token_rules import TokenRules
from openbook.text.tokenizer import Tokenizer

BATCH_TOKENS = 4096
"""Source tokens of a batch, counted once for each beam."""


@dataclass(frozen=True)
class Sentence:
    """What to translate; with a `problem`, it could not even be read."""

    text: str
    problem: str | None = None


@dataclass(frozen=True)
class Candidate:
    """One translation of a sentence, as text and as the hypothesis it was found as."""

    text: str
    hypothesis: Hypothesis


@dataclass(frozen=True)
class Translation:
    """The translations of one sentence, best first; none, and a `problem`, where it was skipped."""

    source: str
    candidates: tuple[Candidate, ...]
    problem: str | None = None

    @property
    def text(self) -> str:
        """The best translation, or nothing."""
        return self.candidates[0].text if self.candidates else ""


@dataclass(frozen=True)
class _Item:
    """A sentence, and the token ids that its model reads: nothing if there is a problem."""

    sentence: Sentence
    ids: list[int]
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class Translator:
    """An encoder-decoder with its tokenizers, and how to decode.

    `reader` encodes sources, `writer` decodes targets. `how` is a beam search (one beam is greedy) or sampling.
    `source_language` and `language` are codes for a model that has several. A translation has at most as many tokens
    as `how` says, or if `bounded` twice those of its source and 20 more, if that is less: a model that repeats itself
    ends soon.
    """

    engine: Engine
    reader: Tokenizer
    writer: Tokenizer
    how: Beams | Sampling
    source_language: str | None = None
    language: str | None = None
    min_tokens: int = 0
    bounded: bool = True
    batch_tokens: int = BATCH_TOKENS

    @cached_property
    def rules(self) -> TokenRules:
        """What the special tokens ask for: padding never comes, a language is written by its code first."""
        special = self.writer.special
        never = {*special.never, *([] if special.padding is None else [special.padding])} - set(special.end)
        first = special.forced_beginning if self.language is None else (special.language(self.language),)
        return TokenRules(
            never=tuple(sorted(never)),
            forced_first=first,
            forced_last=special.forced_end,
            min_tokens=self.min_tokens,
        )

    def __call__(self, windows: Iterable[Sequence[Sentence]]) -> Iterator[Translation]:
        """The translation of every sentence, in order; see `batching.in_order`."""
        beams = self.how.beams if isinstance(self.how, Beams) else 1
        return in_order(
            (self._encoded(window) for window in windows),
            lambda item: len(item.ids),
            self._batch,
            self.batch_tokens // beams,
        )

    def _encoded(self, window: Sequence[Sentence]) -> list[_Item]:
        return [self._item(sentence) for sentence in window]

    def _item(self, sentence: Sentence) -> _Item:
        if sentence.problem is not None:
            return _Item(sentence, [], sentence.problem)
        if not sentence.text.strip():
            return _Item(sentence, [], "it is empty")
        ids = self.reader.encode_source(sentence.text, self.source_language)
        if len(ids) > self.engine.context:
            return _Item(sentence, [], f"it has {len(ids)} tokens, and the model reads at most {self.engine.context}")
        return _Item(sentence, ids, None)

    def _batch(self, items: list[_Item]) -> Iterator[tuple[int, Translation]]:
        good = [place for place, item in enumerate(items) if item.problem is None]
        for place, item in enumerate(items):
            if item.problem is not None:
                yield place, Translation(item.sentence.text, (), item.problem)
        if good:
            for row, hypotheses in self._decode([items[place].ids for place in good]):
                found = tuple(Candidate(self._text(each), each) for each in hypotheses)
                yield good[row], Translation(items[good[row]].sentence.text, found)

    def _text(self, hypothesis: Hypothesis) -> str:
        return self.writer.decode(hypothesis.tokens, skip_special=True).strip()

    def _decode(self, sources: list[list[int]]) -> Iterator[tuple[int, tuple[Hypothesis, ...]]]:
        special = self.writer.special
        start = special.end[0] if special.decoder_start is None else special.decoder_start
        prompts = [[start]] * len(sources)
        most = self.how.max_tokens
        limits = [min(most, 2 * len(ids) + 20) if self.bounded else most for ids in sources]
        if isinstance(self.how, Beams):
            for found in beam_search(
                self.engine, prompts, self.how, self.rules, sources=sources, limits=limits, end_ids=special.end
            ):
                yield found.row, found.hypotheses
        else:
            yield from self._sampled(self.how, prompts, sources, limits)

    def _sampled(
        self, how: Sampling, prompts: list[list[int]], sources: list[list[int]], limits: list[int]
    ) -> Iterator[tuple[int, tuple[Hypothesis, ...]]]:
        if how.stop:
            raise OpenbookError("stop: a translation ends by itself; leave it out")
        tokens: list[list[int]] = [[] for _ in prompts]
        worth = [0.0] * len(prompts)
        ends = self.writer.special.end
        for chosen in generate(self.engine, prompts, how, self.rules, sources=sources, limits=limits, end_ids=ends):
            row = tokens[chosen.row]
            row.append(chosen.token)
            worth[chosen.row] += math.log(chosen.probability) if chosen.probability > 0 else -math.inf
            if chosen.finish is not None:
                total = worth[chosen.row]
                yield chosen.row, (Hypothesis(tuple(row), total, total / len(row), chosen.finish),)
