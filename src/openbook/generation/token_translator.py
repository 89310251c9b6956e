"""Translation of token ids: sources in, hypotheses out, in order and many at once."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain

from openbook.generation.beam_search import search_batches
from openbook.generation.engines.engine import Engine
from openbook.generation.generate import GeneratedToken, generate
from openbook.generation.hypotheses import DecodingRequest, Hypothesis, SearchResult, TextOf
from openbook.generation.scheduling import WorkQueue, map_in_order
from openbook.generation.settings import BeamSearch, Sampling
from openbook.generation.straggler_queue import StragglerQueue
from openbook.generation.token_rules import TokenRules
from openbook.text.tokenizer.special_tokens import SpecialTokens

BATCH_TOKENS = 8192
"""Source tokens of a greedy batch. Beams share their source's keys and values: each counts as half a row more."""

Sources = WorkQueue[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class TokenTranslator:
    """A model that translates, and how to decode.

    Attributes:
        engine: of an encoder-decoder, or of a decoder-only model that was trained on pairs.
        special: the special tokens of the target.
        unused: ids of the target that stand for no token.
        decoding: beam search (one beam is greedy) or sampling.
        target_language: its code, for a model that has several.
        bounded: limit a translation to twice the tokens of its source and 20 more, if max_tokens is larger: a model
            that repeats itself ends soon.
        batch_tokens: source tokens of a greedy batch.
        text_of: what tokens read as, so that the n-best read differently.
    """

    engine: Engine
    special: SpecialTokens
    decoding: BeamSearch | Sampling
    target_language: str | None = None
    unused: tuple[int, ...] = ()
    bounded: bool = True
    batch_tokens: int = BATCH_TOKENS
    text_of: TextOf | None = None

    @cached_property
    def rules(self) -> TokenRules:
        """The token rules of the target."""
        return TokenRules.of(self.special, self.decoding, self.target_language, unused=self.unused)

    @property
    def start(self) -> int:
        """The token that an encoder-decoder's decoder starts with."""
        return self.special.end[0] if self.special.decoder_start is None else self.special.decoder_start

    def __call__(self, windows: Iterable[Sequence[Sequence[int]]]) -> Iterator[tuple[Hypothesis, ...]]:
        """The translations of each source, best first and with end tokens, in order; see `map_in_order`.

        A source is token ids, special tokens included. An empty one gets no hypotheses.
        """
        if isinstance(self.decoding, Sampling):
            work, max_tokens = partial(self._sample, self.decoding), self.batch_tokens
        else:
            work = partial(self._search, self.decoding, StragglerQueue())
            max_tokens = 2 * self.batch_tokens // (1 + self.decoding.beam_size)
        return map_in_order(windows, len, work, max_tokens, self.engine.threads, self.engine.set_cores)

    def _search(self, settings: BeamSearch, stragglers: StragglerQueue, sources: Sources) -> Iterator[SearchResult]:
        """Each source with its n-best, as soon as they are found."""
        results = search_batches(
            self.engine,
            lambda: self._requests(sources),
            settings,
            self.rules,
            text_of=self.text_of,
            stragglers=stragglers,
            is_ending=sources.is_ending,
        )
        return chain(_untranslated(sources), results)

    def _sample(self, settings: Sampling, sources: Sources) -> Iterator[SearchResult]:
        """Each source with one sampled hypothesis, as soon as it is finished."""
        yield from _untranslated(sources)
        while requests := self._requests(sources):
            rows: list[list[GeneratedToken]] = [[] for _ in requests]
            given = [request.source for request in requests if request.source is not None] or None
            limits = [settings.max_tokens if request.limit is None else request.limit for request in requests]
            prompts = [request.ids for request in requests]
            for token in generate(self.engine, prompts, settings, self.rules, sources=given, limits=limits):
                rows[token.row].append(token)
                if token.finish_reason is not None:
                    yield SearchResult(requests[token.row].row, (_as_hypothesis(rows[token.row]),))

    def _requests(self, sources: Sources) -> list[DecodingRequest]:
        return [self._request(row, ids) for row, ids in sources.take()]

    def _request(self, row: int, ids: Sequence[int]) -> DecodingRequest:
        limit = min(self.decoding.max_tokens, 2 * len(ids) + 20) if self.bounded else self.decoding.max_tokens
        if self.engine.source_vocab_size is None:
            return DecodingRequest(row, ids, None, limit)
        return DecodingRequest(row, [self.start], ids, limit)


def _untranslated(sources: Sources) -> Iterator[SearchResult]:
    """The empty sources, without hypotheses."""
    return (SearchResult(row, ()) for row in sources.take_empty())


def _as_hypothesis(tokens: Sequence[GeneratedToken]) -> Hypothesis:
    """Sampled tokens, the last of which finished the row; their score is the mean log-probability."""
    reason = tokens[-1].finish_reason
    assert reason is not None, "the row is finished"
    total = sum(math.log(each.probability) if each.probability else -math.inf for each in tokens)
    return Hypothesis(tuple(each.token_id for each in tokens), total, total / len(tokens), reason)
