"""Token ids of sources in, token ids of their translations out, in order and many at once."""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from openbook.generation.beam_search import Hypothesis, Late, Prompt, search_through
from openbook.generation.engines.torch_engine import Engine
from openbook.generation.generate import Chosen, generate
from openbook.generation.scheduling import Waiting, in_order
from openbook.generation.settings import BeamSearch, Sampling
from openbook.generation.token_rules import TokenRules
from openbook.text.tokenizer.special_tokens import SpecialTokens

BATCH_TOKENS = 8192
"""Source tokens of a greedy batch. Beams share their source's keys and values: each counts as half a row more."""

Result = tuple[int, tuple[Hypothesis, ...]]
"""The place of a source, and its hypotheses."""


@dataclass(frozen=True, kw_only=True)
class TokenTranslator:
    """A model of either kind, and how to decode.

    `how` is a beam search (one beam is greedy) or sampling; `special` are the tokens of the language to write,
    `language` its code for a model that has several. A translation has at most as many tokens as `how` says, or if
    `bounded` twice those of its source and 20 more, if that is less: a model that repeats itself ends soon.
    """

    engine: Engine
    special: SpecialTokens
    how: BeamSearch | Sampling
    language: str | None = None
    bounded: bool = True
    batch_tokens: int = BATCH_TOKENS

    @cached_property
    def rules(self) -> TokenRules:
        """What the special tokens ask for."""
        return TokenRules.of(
            self.special, self.how.min_tokens, self.language, no_repeat_ngram_size=self.how.no_repeat_ngram_size
        )

    @property
    def start(self) -> int:
        """What the decoder of an encoder-decoder begins with."""
        return self.special.end[0] if self.special.decoder_start is None else self.special.decoder_start

    def __call__(self, windows: Iterable[Sequence[Sequence[int]]]) -> Iterator[tuple[Hypothesis, ...]]:
        """What each source is translated to, best first and with its end token, in order; see `batching.in_order`.

        A source is token ids with all that stands around it. One without any gets no hypotheses.
        """
        beams = self.how.beam_size if isinstance(self.how, BeamSearch) else 1
        work = partial(self._search, Late()) if isinstance(self.how, BeamSearch) else self._draw
        return in_order(windows, len, work, 2 * self.batch_tokens // (1 + beams), self.engine.threads)

    def _search(self, late: Late, waiting: Waiting[Sequence[int]]) -> Iterator[Result]:
        def more() -> list[Prompt]:
            return [self._prompt(*each) for each in waiting.take()]

        assert isinstance(self.how, BeamSearch)
        yield from ((place, ()) for place in waiting.take_empty())
        ends, ending = self.special.end, waiting.ending
        for found in search_through(self.engine, more, self.how, self.rules, end_ids=ends, late=late, ending=ending):
            yield found.row, found.hypotheses

    def _draw(self, waiting: Waiting[Sequence[int]]) -> Iterator[Result]:
        assert isinstance(self.how, Sampling)
        yield from ((place, ()) for place in waiting.take_empty())
        while taken := waiting.take():
            prompts = [self._prompt(*each) for each in taken]
            yield from sampled(self.engine, prompts, self.how, self.rules, self.special.end)

    def _prompt(self, row: int, ids: Sequence[int]) -> Prompt:
        limit = min(self.how.max_tokens, 2 * len(ids) + 20) if self.bounded else self.how.max_tokens
        if self.engine.source_vocab_size is None:
            return Prompt(row, ids, None, limit)
        return Prompt(row, [self.start], ids, limit)


def sampled(
    engine: Engine, prompts: Sequence[Prompt], how: Sampling, rules: TokenRules, end_ids: Collection[int]
) -> Iterator[Result]:
    """Each row with one hypothesis, as soon as it is drawn."""
    rows: list[list[Chosen]] = [[] for _ in prompts]
    sources = [prompt.source for prompt in prompts if prompt.source is not None]
    limits = [how.max_tokens if prompt.limit is None else prompt.limit for prompt in prompts]
    ids = [prompt.ids for prompt in prompts]
    for chosen in generate(engine, ids, how, rules, sources=sources or None, limits=limits, end_ids=end_ids):
        row = rows[chosen.row]
        row.append(chosen)
        if chosen.finish is not None:
            total = sum(math.log(each.probability) if each.probability else -math.inf for each in row)
            tokens = tuple(each.token for each in row)
            yield prompts[chosen.row].row, (Hypothesis(tokens, total, total / len(row), chosen.finish),)
