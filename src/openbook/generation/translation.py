"""Sentences in, translations out, in order: encoded, decoded many at once, and whatever cannot be is reported."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from openbook.errors import OpenbookError
from openbook.generation.batching import in_order
from openbook.generation.beam import Hypothesis, beam_search
from openbook.generation.engine import Engine
from openbook.generation.generate import Chosen, generate
from openbook.generation.settings import Beams, Sampling
from openbook.generation.text import Candidate
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
    """A model with its tokenizers, and how to decode.

    `reader` encodes sources, `writer` decodes targets. A decoder-only model reads the source, then the separator. `how`
    is a beam search (one beam is greedy) or sampling. `source_language` and `language` are codes for a model that has
    several. A translation has at most as many tokens as `how` says, or if `bounded` twice those of its source and 20
    more, if that is less: a model that repeats itself ends soon.
    """

    engine: Engine
    reader: Tokenizer
    writer: Tokenizer
    how: Beams | Sampling
    source_language: str | None = None
    language: str | None = None
    bounded: bool = True
    batch_tokens: int = BATCH_TOKENS

    @cached_property
    def rules(self) -> TokenRules:
        """What the special tokens ask for."""
        return TokenRules.of(self.writer.special, self.how.min_tokens, self.language, no_repeat=self.how.no_repeat)

    def __call__(self, windows: Iterable[Sequence[Sentence]]) -> Iterator[Translation]:
        """The translation of every sentence, in order; see `batching.in_order`.

        Raises:
            OpenbookError: a language is unknown, or sampling has stop texts, which translations do not heed.
        """
        if isinstance(self.how, Sampling) and self.how.stop:
            raise OpenbookError("stop: a translation ends by itself; leave it out")
        beams = self.how.beams if isinstance(self.how, Beams) else 1
        return in_order(
            ([self._item(sentence) for sentence in window] for window in windows),
            lambda item: len(item.ids),
            self._batch,
            self.batch_tokens // beams,
            self.engine.threads,
        )

    def read(self, text: str) -> list[int]:
        """The token ids of a source, with all that stands around it."""
        ids = self.reader.encode_source(text, self.source_language)
        if self.engine.source_vocabulary is not None:
            return ids
        separator = self.writer.special.separator
        if separator is None:
            raise OpenbookError("this model is decoder-only and was not trained on pairs: it continues, ask it instead")
        return [*ids, separator]

    def target(self, text: str) -> list[int]:
        """The token ids of a translation that somebody gives, from what the decoder begins with to the end token."""
        special = self.writer.special
        return [self._start, *self.rules.forced_first, *self.writer.encode(text), special.end[0]]

    @property
    def _start(self) -> int:
        special = self.writer.special
        return special.end[0] if special.decoder_start is None else special.decoder_start

    def _item(self, sentence: Sentence) -> _Item:
        if sentence.problem is not None:
            return _Item(sentence, [], sentence.problem)
        if not sentence.text.strip():
            return _Item(sentence, [], "it is empty")
        ids, most = self.read(sentence.text), self.engine.context
        if len(ids) > most:
            return _Item(sentence, [], f"it has {len(ids):,} tokens, and the model reads at most {most:,}")
        return _Item(sentence, ids, None)

    def _batch(self, items: list[_Item]) -> Iterator[tuple[int, Translation]]:
        for place, item in enumerate(items):
            if item.problem is not None:
                yield place, Translation(item.sentence.text, (), item.problem)
        good = [place for place, item in enumerate(items) if item.problem is None]
        if good:
            for row, hypotheses in self._decode([items[place].ids for place in good]):
                found = tuple(Candidate(self._text(each), each) for each in hypotheses)
                yield good[row], Translation(items[good[row]].sentence.text, found)

    def _text(self, hypothesis: Hypothesis) -> str:
        return self.writer.decode(hypothesis.tokens, skip_special=True).strip()

    def _decode(self, rows: list[list[int]]) -> Iterator[tuple[int, tuple[Hypothesis, ...]]]:
        special, most = self.writer.special, self.how.max_tokens
        apart = self.engine.source_vocabulary is not None
        prompts, sources = ([[self._start]] * len(rows), rows) if apart else (rows, None)
        options: dict[str, Any] = {
            "sources": sources,
            "limits": [min(most, 2 * len(ids) + 20) if self.bounded else most for ids in rows],
            "end_ids": special.end,
        }
        if isinstance(self.how, Beams):
            for found in beam_search(self.engine, prompts, self.how, self.rules, **options):
                yield found.row, found.hypotheses
        else:
            yield from sampled(self.engine, prompts, self.how, self.rules, **options)


def sampled(
    engine: Engine, prompts: list[list[int]], how: Sampling, rules: TokenRules, **options: Any
) -> Iterator[tuple[int, tuple[Hypothesis, ...]]]:
    """Each row with one hypothesis, as soon as it is drawn; arguments as for `generate`."""
    rows: list[list[Chosen]] = [[] for _ in prompts]
    for chosen in generate(engine, prompts, how, rules, **options):
        row = rows[chosen.row]
        row.append(chosen)
        if chosen.finish is not None:
            total = sum(math.log(each.probability) if each.probability else -math.inf for each in row)
            tokens = tuple(each.token for each in row)
            yield chosen.row, (Hypothesis(tokens, total, total / len(row), chosen.finish),)
