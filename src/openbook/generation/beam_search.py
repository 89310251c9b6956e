"""Beam search: the most probable sequences, found by following the `beam_size` best prefixes at once.

A prefix scores Σ log p(token); a finished sequence Σ log p(token) / lengthᵖ, where p is the length penalty
(Wu et al. 2016, section 7, without their constant). The best continuations of all beams that do not end stay open;
one that ends is finished if it is among the `beam_size` best of all.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from openbook.generation.beam_batch import BeamBatch
from openbook.generation.beam_state import BeamState
from openbook.generation.beam_trace import BeamTrace
from openbook.generation.candidates import Candidates
from openbook.generation.engines.engine import Engine
from openbook.generation.generate import check_prompts, limits_in_context
from openbook.generation.hypotheses import DecodingRequest, NBest, SearchResult, TextOf
from openbook.generation.scheduling import batch_by_length
from openbook.generation.settings import BeamSearch
from openbook.generation.straggler_queue import StragglerQueue
from openbook.generation.token_rules import NO_RULES, TokenRules

PREFILL_TOKENS = 1024
"""Tokens of prompts or sources to read in one pass: less padding, and what a pass needs stays in the cache."""
STRAGGLER_SHARE = 1 / 4
"""When this share of a batch is left, its rows are deferred."""
EFFICIENT_BEAMS = 64
"""Beams that are worth a batch of their own: with more, a step costs nearly in proportion."""


def beam_search(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    settings: BeamSearch,
    rules: TokenRules = NO_RULES,
    *,
    sources: Sequence[Sequence[int]] | None = None,
    limits: Sequence[int] | None = None,
    trace: BeamTrace | None = None,
    text_of: TextOf | None = None,
) -> Iterator[SearchResult]:
    """The n-best continuations of each prompt, in the order in which they are found; finished rows leave the batch.

    Args:
        prompts: token ids, from 1 to the engine's context each.
        settings: the number of beams, the score of a sequence, when to end.
        rules: end tokens, and tokens that are suppressed or forced. The others keep the model's probabilities; what is
            forced has probability 1.
        sources: for an encoder-decoder, the source of each prompt.
        limits: how many tokens each prompt may produce; `max_tokens` if None.
        trace: records every beam at every step.
        text_of: what tokens read as: the n-best read differently. None: they may differ in their tokens alone.

    Raises:
        OpenbookError: a prompt is empty, too long, or has a token that is not in the vocabulary; the rules do not fit
            the vocabulary; the logits are not finite.
    """
    check_prompts(prompts, engine.vocab_size)
    engine.check_sources(prompts, sources)
    requests = [
        DecodingRequest(row, ids, None if sources is None else sources[row], None if limits is None else limits[row])
        for row, ids in enumerate(prompts)
    ]
    one_batch = iter([requests])
    return search_batches(engine, lambda: next(one_batch, []), settings, rules, trace=trace, text_of=text_of)


def search_batches(
    engine: Engine,
    next_batch: Callable[[], Sequence[DecodingRequest]],
    settings: BeamSearch,
    rules: TokenRules = NO_RULES,
    *,
    trace: BeamTrace | None = None,
    text_of: TextOf | None = None,
    stragglers: StragglerQueue | None = None,
    is_ending: Callable[[], bool] = lambda: True,
) -> Iterator[SearchResult]:
    """Beam search for any number of requests, batch by batch; the other arguments are those of `beam_search`.

    A few rows of each batch take many more steps than the rest, and a step for them costs almost as much as for a full
    batch. They are deferred, and continue together when they fill a batch, or before the last batch: they take long,
    and threads left with short rows finish at the same time. Each row's result is the same as alone.

    Args:
        next_batch: returns the next requests to decode together, [] when there are none.
        stragglers: where to defer rows; searches on several threads may share one.
        is_ending: whether at most one more batch will come.
    """
    candidates = Candidates(settings, rules, engine.vocab_size)
    stragglers = stragglers or StragglerQueue()
    while requests := next_batch():
        batch: BeamBatch | None = _prefilled(engine, requests, candidates, text_of)
        while batch is not None:
            few = STRAGGLER_SHARE * len(batch.rows)
            while len(batch.rows) > few:
                yield from batch.step(trace)
            enough = 1 if is_ending() else min(len(requests), max(1, EFFICIENT_BEAMS // settings.beam_size))
            batch = stragglers.defer(batch, enough)
    while (batch := stragglers.take()) is not None:
        while batch.rows:
            yield from batch.step(trace)


def _prefilled(
    engine: Engine, requests: Sequence[DecodingRequest], candidates: Candidates, text_of: TextOf | None
) -> BeamBatch:
    """A batch that has read its prompts and sources, a few of like length at a time."""
    settings, prompts = candidates.settings, [request.ids for request in requests]
    check_prompts(prompts, engine.vocab_size)
    asked = [settings.max_tokens if request.limit is None else request.limit for request in requests]
    limits = limits_in_context(engine, prompts, asked)
    parts = list(batch_by_length([request.length for request in requests], PREFILL_TOKENS))
    begun = []
    for part in parts:
        sources = [source for index in part if (source := requests[index].source) is not None]
        begun.append(engine.prefill([prompts[index] for index in part], sources or None))
    sessions, logits = zip(*begun, strict=True)
    if len(sessions) > 1:
        sessions[0].join(sessions[1:])
    order = [index for part in parts for index in part]
    rows = [NBest(requests[index].row, limits[index], settings, text_of) for index in order]
    state = BeamState.start([prompts[index] for index in order], [limits[index] for index in order])
    return BeamBatch(candidates, sessions[0], np.concatenate(logits), rows, state)
