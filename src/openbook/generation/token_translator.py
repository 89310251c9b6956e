"""Token ids of sources in, token ids of their translations out, in order and many at once."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from openbook.generation.batching import in_order
from openbook.generation.beam import Hypothesis, beam_search
from openbook.generation.engine import Engine
from openbook.generation.generate import Chosen, generate
from openbook.generation.settings import Beams, Sampling
from openbook.generation.token_rules import TokenRules
from openbook.text.special_tokens import SpecialTokens

BATCH_TOKENS = 4096
"""Source tokens of a batch, counted once for each beam."""


@dataclass(frozen=True, kw_only=True)
class TokenTranslator:
    """A model of either kind, and how to decode.

    `how` is a beam search (one beam is greedy) or sampling; `special` are the tokens of the language to write,
    `language` its code for a model that has several. A translation has at most as many tokens as `how` says, or if
    `bounded` twice those of its source and 20 more, if that is less: a model that repeats itself ends soon.
    """

    engine: Engine
    special: SpecialTokens
    how: Beams | Sampling
    language: str | None = None
    bounded: bool = True
    batch_tokens: int = BATCH_TOKENS

    @cached_property
    def rules(self) -> TokenRules:
        """What the special tokens ask for."""
        return TokenRules.of(self.special, self.how.min_tokens, self.language, no_repeat=self.how.no_repeat)

    @property
    def start(self) -> int:
        """What the decoder of an encoder-decoder begins with."""
        return self.special.end[0] if self.special.decoder_start is None else self.special.decoder_start

    def __call__(self, windows: Iterable[Sequence[Sequence[int]]]) -> Iterator[tuple[Hypothesis, ...]]:
        """What each source is translated to, best first and with its end token, in order; see `batching.in_order`.

        A source is token ids with all that stands around it. One without any gets no hypotheses.
        """
        beams = self.how.beams if isinstance(self.how, Beams) else 1
        return in_order(windows, len, self._batch, self.batch_tokens // beams, self.engine.threads)

    def _batch(self, sources: list[Sequence[int]]) -> Iterator[tuple[int, tuple[Hypothesis, ...]]]:
        good = [place for place, ids in enumerate(sources) if len(ids)]
        yield from ((place, ()) for place, ids in enumerate(sources) if not len(ids))
        if good:
            for row, hypotheses in self._decode([sources[place] for place in good]):
                yield good[row], hypotheses

    def _decode(self, rows: list[Sequence[int]]) -> Iterator[tuple[int, tuple[Hypothesis, ...]]]:
        most = self.how.max_tokens
        apart = self.engine.source_vocabulary is not None
        prompts, sources = ([[self.start]] * len(rows), rows) if apart else (rows, None)
        options: dict[str, Any] = {
            "sources": sources,
            "limits": [min(most, 2 * len(ids) + 20) if self.bounded else most for ids in rows],
            "end_ids": self.special.end,
        }
        if isinstance(self.how, Beams):
            for found in beam_search(self.engine, prompts, self.how, self.rules, **options):
                yield found.row, found.hypotheses
        else:
            yield from sampled(self.engine, prompts, self.how, self.rules, **options)


def sampled(
    engine: Engine, prompts: Sequence[Sequence[int]], how: Sampling, rules: TokenRules, **options: Any
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
