"""A run: a prompt and the tokens that a model writes after it, each step as real generation computes it, traced.

    run = trace_generation(model, tokens, Sampling(temperature=0, max_tokens=4))
    run.steps[1].token_id
    run.trace(1)["decoder.blocks.0.self_attention.weights"].value  # (1, H, 1, S): the new token alone, from the cache

Step 0 reads the prompt, and for an encoder-decoder the source, once. Each later step reads the token that the step
before it chose; keys and values of the tokens before it come from the cache.
"""

import math
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from openbook.explanation.replay import Replay
from openbook.explanation.run import Explanation, check_size
from openbook.generation.arrays import FloatArray, IntArray
from openbook.generation.cache.kv_cache import KVCache
from openbook.generation.engines.base import CachedSession, ModelEngine, as_array
from openbook.generation.engines.engine import CacheBlock, Continuations
from openbook.generation.generate import FinishReason, LogitsNotFiniteError, TokenProbability, generate
from openbook.generation.settings import Sampling
from openbook.generation.token_rules import NO_RULES, TokenRules
from openbook.trace import Trace, note, trace
from openbook.transformer.cache import DecoderCache
from openbook.transformer.transformer import Transformer

KEPT_BYTES = 2**30
"""Memory that the traces of a run may take together; others are recorded again when they are looked at."""
ALTERNATIVES = 10


@dataclass(frozen=True)
class Step:
    """One pass of the decoder and the token chosen after it.

    Attributes:
        number: from 0.
        first, end: the pass read the tokens first … end − 1 of the run.
        chosen: the token, with its probabilities.
        alternatives: the most probable others.
        drawn: the random number from 0 to 1 that chose; None where the most probable token was taken.
        finite: whether all logits are finite. Where they are not, no token can be chosen: `chosen` then has the
            largest of those that are, to have one to look at, and its probabilities are NaN.
    """

    number: int
    first: int
    end: int
    chosen: TokenProbability
    alternatives: tuple[TokenProbability, ...]
    drawn: float | None
    finite: bool = True


class TracedRun:
    """A prompt, what was written after it, and the trace of every step, kept or recorded again.

    Attributes:
        model: that ran.
        tokens: ids of the prompt (or of the target so far), then those that were written.
        prompt_length: how many of `tokens` step 0 read.
        source: ids of the source of an encoder-decoder.
        settings: with the seed that was used.
        rules: what may follow, whatever the model predicts.
        steps: one for each token that was written.
        finish_reason: why the run ended; "not finite" where the last step's logits are not.
    """

    def __init__(
        self,
        engine: "TracingEngine",
        prompt: Sequence[int],
        source: Sequence[int] | None,
        settings: Sampling,
        rules: TokenRules,
        steps: Sequence[Step],
        finish_reason: FinishReason | Literal["not finite"] | None,
    ) -> None:
        self.model, self._engine = engine.model, engine
        self.prompt_length = len(prompt)
        self.tokens = [*prompt, *(step.chosen.token_id for step in steps)]
        self.source = None if source is None else list(source)
        self.settings, self.rules, self.steps, self.finish_reason = settings, rules, tuple(steps), finish_reason

    @property
    def written(self) -> list[int]:
        """The tokens that were written; without that of a step whose logits are not finite."""
        return [step.chosen.token_id for step in self.steps if step.finite]

    def trace(self, step: int) -> Trace:
        """Everything recorded in a step, from token ids to the most probable next token."""
        return self._engine.trace(step)

    def logits(self, step: int) -> FloatArray:
        """The logits (V,) of the token after a step."""
        return self._engine.last_logits[step]

    def cache_before(self, step: int) -> DecoderCache:
        """The cache as it was before a later step than the first; what a pass adds to it is not kept."""
        return self._engine.cache_before(step)

    @property
    def kept_bytes(self) -> int:
        """The memory that its traces, logits and cache take."""
        return self._engine.kept_bytes

    def step_of(self, index: int) -> int:
        """The step that read the token at this index."""
        return 0 if index < self.prompt_length else index - self.prompt_length + 1


def trace_generation(
    model: Transformer,
    prompt: Sequence[int],
    settings: Sampling,
    rules: TokenRules = NO_RULES,
    *,
    source: Sequence[int] | None = None,
    written: Sequence[int] = (),
    most_bytes: int | None = None,
) -> TracedRun:
    """Generate after a prompt, or for a source after the target so far, and record every step.

    Args:
        model: decoder-only or encoder-decoder; it stays in training or evaluation mode as it was.
        prompt: token ids of the prompt, or of the target so far with its start token.
        settings: how tokens are chosen, and how many; without a seed one is drawn and kept. Stop texts are ignored.
        rules: as for `generate`.
        source: token ids of the source, for an encoder-decoder.
        written: tokens that the answer begins with, whatever would be chosen: an answer that was given before.
        most_bytes: memory that the traces may take, as `KEPT_BYTES`.

    Raises:
        OpenbookError: the prompt is empty, or too long for the model's context or for memory; a source is missing, or
            given to a decoder-only model; a written token is not in the vocabulary.
    """
    check_size(model, prompt, source)
    seed = secrets.randbits(31) if settings.seed is None else settings.seed
    settings = replace(settings, seed=seed)
    alternatives = min(ALTERNATIVES, model.architecture.vocab_size - 1)
    engine = TracingEngine(model, KEPT_BYTES if most_bytes is None else most_bytes)
    room = model.architecture.context - len(prompt) + 1  # the last token is not read, so it needs no place
    sources = None if source is None else [list(source)]
    generated = generate(
        engine,
        [list(prompt)],
        replace(settings, top_alternatives=alternatives, stop=()),
        rules,
        sources=sources,
        limits=[min(settings.max_tokens, room)],
        written=[written],
    )
    random = np.random.default_rng(seed)
    steps: list[Step] = []
    end, reason = len(prompt), None
    try:
        for token in generated:
            drawn = random.random() if settings.temperature > 0 else None
            chosen = TokenProbability(token.token_id, token.probability, token.sampling_probability)
            steps.append(Step(len(steps), 0 if not steps else end - 1, end, chosen, token.top_alternatives, drawn))
            end, reason = end + 1, token.finish_reason
    except LogitsNotFiniteError:
        first = 0 if not steps else end - 1
        steps.append(_without_choice(len(steps), first, end, engine.last_logits[-1]))
        return TracedRun(engine, prompt, source, settings, rules, steps, "not finite")
    return TracedRun(engine, prompt, source, settings, rules, steps, reason)


def _without_choice(number: int, first: int, end: int, logits: FloatArray) -> Step:
    """A step whose logits (V,) are not all finite."""
    best = int(np.where(np.isfinite(logits), logits, -np.inf).argmax())
    return Step(number, first, end, TokenProbability(best, math.nan, math.nan), (), None, finite=False)


def run_of(explanation: Explanation) -> TracedRun:
    """A run of one step, which takes the most probable token: that of an explained pass of one row."""
    engine = TracingEngine(explanation.model)
    tokens = explanation.tokens[0].tolist()
    source = None if explanation.source is None else explanation.source[0].tolist()
    logits, probabilities = as_array(explanation.logits)[0], as_array(explanation.probabilities)[0]
    engine.keep(0, explanation.trace, logits)
    settings = Sampling(temperature=0.0, max_tokens=1)
    if not np.isfinite(logits).all():
        step = _without_choice(0, 0, len(tokens), logits)
        return TracedRun(engine, tokens, source, settings, NO_RULES, [step], "not finite")
    best = (-probabilities).argsort(kind="stable")[: ALTERNATIVES + 1].tolist()
    choice = best[0]
    each = [TokenProbability(token, float(probabilities[token]), float(token == choice)) for token in best]
    step = Step(0, 0, len(tokens), each[0], tuple(each[1:]), None)
    return TracedRun(engine, tokens, source, settings, NO_RULES, [step], "length")


class TracingEngine(ModelEngine):
    """An engine for one run of one row, which records every pass; see `Engine`.

    Attributes:
        model: that runs.
        last_logits: (V,) after each pass.
    """

    def __init__(self, model: Transformer, most_bytes: int = KEPT_BYTES) -> None:
        super().__init__(model)
        self.model, self._most_bytes = model, most_bytes
        self.last_logits: list[FloatArray] = []
        self._cache = KVCache(len(model.architecture.decoder.blocks))
        self._read: list[tuple[int, list[int]]] = []  # where each pass began, and the tokens that it read
        self._source: list[int] | None = None
        self._traces: OrderedDict[int, Trace] = OrderedDict()

    def prefill(
        self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None = None
    ) -> tuple["TracingSession", FloatArray]:
        """As `Engine.prefill`; records step 0."""
        self.check_sources(prompts, sources)
        if self._read:
            raise ValueError("a tracing engine serves one run")
        self._source = None if sources is None else list(sources[0])
        self._read.append((0, list(prompts[0])))
        return TracingSession(self), self._pass(0, self._cache)[None]

    def restore(self, blocks: Sequence[CacheBlock]) -> "TracingSession":
        """Not for a traced run, which records its whole prompt."""
        raise NotImplementedError("a traced run reads its whole prompt")

    def step(self, token: int) -> FloatArray:
        """Read one more token; return the logits (V,) of the next."""
        self._read.append((self._cache.length, [token]))
        return self._pass(len(self._read) - 1, self._cache)

    def trace(self, step: int) -> Trace:
        """The trace of a pass, recorded again if it is no longer kept."""
        if step in self._traces:
            self._traces.move_to_end(step)
        elif step == 0:
            self._pass(0, KVCache(len(self.model.architecture.decoder.blocks)))
        else:
            self._pass(step, self.cache_before(step))
        return self._traces[step]

    def cache_before(self, step: int) -> DecoderCache:
        """As `TracedRun.cache_before`."""
        return Replay(self._cache, self._read[step][0])

    @property
    def kept_bytes(self) -> int:
        """The memory that traces, logits and the cache take."""
        cached = sum(each.nbytes for layer in self._cache.layers for each in layer.get())
        traced = sum(map(trace_bytes, list(self._traces.values())))
        return cached + traced + sum(each.nbytes for each in list(self.last_logits))

    def keep(self, step: int, recorded: Trace, logits: FloatArray) -> None:
        """Keep the trace of a pass, and as many others as the memory takes."""
        if step == len(self.last_logits):
            self.last_logits.append(logits)
        self._traces[step] = recorded
        while len(self._traces) > 1 and sum(map(trace_bytes, self._traces.values())) > self._most_bytes:
            self._traces.popitem(last=False)

    @torch.no_grad()
    def _pass(self, step: int, cache: DecoderCache) -> FloatArray:
        model, (_, read) = self.model, self._read[step]
        was_training = model.training
        model.eval()
        try:
            with trace(model) as recorded:
                source = None
                if step == 0 and self._source is not None:
                    source = torch.tensor([self._source], device=self.device)
                logits = model(torch.tensor([read], device=self.device), cache=cache, source=source)[:, -1]
                probabilities = note("probabilities", logits.softmax(-1))
                note("choice", probabilities.argmax(-1))
        finally:
            model.train(was_training)
        row: FloatArray = as_array(logits)[0]
        self.keep(step, recorded, row)
        return row


class TracingSession(CachedSession):
    """The one row of a `TracingEngine`."""

    def __init__(self, engine: TracingEngine) -> None:
        super().__init__(engine._cache, engine.device)
        self._engine = engine

    def step(self, tokens: IntArray) -> FloatArray:
        """As `Session.step`, for one row and one beam."""
        return self._engine.step(int(tokens[0, 0]))[None, None]

    def step_topk(self, tokens: IntArray, log_probs: FloatArray, suppressed: IntArray, count: int) -> Continuations:
        """Not for a traced run, which has one row; `generation.beam_trace` traces beams."""
        raise NotImplementedError("a traced run writes one token at a time; beams are traced by generation.beam_trace")


def trace_bytes(recorded: Trace) -> int:
    """The memory that the values of a trace take, those that share it counted once."""
    storages = {
        each.value.untyped_storage().data_ptr(): each.value.untyped_storage().nbytes() for each in recorded.values()
    }
    return sum(storages.values())
