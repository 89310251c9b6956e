"""Reading prompts: in pieces, several short ones in one pass, from the prefix cache where their beginning is there."""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from openbook.generation.arrays import FloatArray
from openbook.generation.batching.active_request import ActiveRequest
from openbook.generation.batching.choice import Choice, scores
from openbook.generation.batching.events import PromptRead, TokenScore
from openbook.generation.batching.limits import Counters
from openbook.generation.batching.prefix_cache import PrefixCache
from openbook.generation.engines.engine import BLOCK_TOKENS, Engine, Session
from openbook.generation.settings import BeamSearch

MAX_LOGITS = 1 << 24
"""Logits of a piece of a prompt whose log-probabilities are asked for: 64 MiB."""


class PrefillJob:
    """A sequence to read before the choices that continue it can go on.

    Args:
        active: the request.
        choices: that continue it; none of a beam search.
        tokens: the prompt; of a row that had to make room, what it has produced too.
        tells: whether the request is told when it has been read.
    """

    def __init__(self, active: ActiveRequest, choices: Sequence[Choice], tokens: Sequence[int], tells: bool) -> None:
        self.active, self.choices, self.tokens, self.tells = active, list(choices), tokens, tells
        self.session: Session | None = None
        self.read = 0
        self.reused = 0
        self._log_probs: list[float | None] = [None]
        self._top: list[tuple[TokenScore, ...]] = [()]

    @property
    def source(self) -> Sequence[int] | None:
        """The source, for an encoder-decoder."""
        return self.active.request.source

    @property
    def is_scored(self) -> bool:
        """Whether log-probabilities of the prompt are asked for."""
        return self.tells and self.active.request.prompt_logprobs is not None

    @property
    def rows(self) -> int:
        """How many rows continue it."""
        is_search = isinstance(self.active.request.decoding, BeamSearch)
        return self.active.request.sampled if is_search else len(self.choices)

    @property
    def kind(self) -> Hashable:
        """What is alike of jobs that may be read in one pass: of samples nothing, of beams their settings and rules."""
        decoding = self.active.request.decoding
        return (decoding, self.active.request.rules) if isinstance(decoding, BeamSearch) else None

    @property
    def left(self) -> int:
        """How many tokens there are still to read."""
        return len(self.tokens) - self.read

    def add_scores(self, logits: FloatArray) -> None:
        """Logits (T, V) after the tokens that were read last; they score the tokens that follow."""
        wanted = self.active.request.prompt_logprobs or 0
        for row in logits[: len(self.tokens) - len(self._log_probs)]:
            log_prob, top = scores(row, self.tokens[len(self._log_probs)], wanted)
            self._log_probs.append(log_prob)
            self._top.append(top)

    def tell(self) -> None:
        """Tell the request that its prompt was read, unless it knows."""
        if self.tells:
            scores = (tuple(self._log_probs), tuple(self._top)) if self.is_scored else ((), ())
            self.active.tell_read(PromptRead(len(self.tokens), self.reused, *scores))


@dataclass(frozen=True)
class PrefillResult:
    """Jobs that are read, a row of the session each, and the logits (B, V) after them."""

    jobs: list[PrefillJob]
    session: Session
    logits: FloatArray


class Prefill:
    """The jobs that are being read, in turns.

    Args:
        engine: reads them.
        prefix_cache: keeps what was read.
        counters: of the batcher.
        splits: whether a prompt may be read in pieces, and from the cache.
        joins: whether several jobs may be read in one pass.
    """

    def __init__(
        self, engine: Engine, prefix_cache: PrefixCache, counters: Counters, *, splits: bool, joins: bool
    ) -> None:
        self.jobs: deque[PrefillJob] = deque()
        self._engine, self._prefix_cache, self._counters = engine, prefix_cache, counters
        self._splits, self._joins = splits, joins

    def turn(self, budget: int) -> list[PrefillResult]:
        """Read about so many tokens of the next jobs; return those that are complete, as they lie in sessions.

        A job whose pass fails fails with all jobs of the pass, and no other.
        """
        passes: dict[Hashable, list[PrefillJob]] = {}
        counts: dict[PrefillJob, int] = {}
        while self.jobs and budget > 0:
            job = self.jobs.popleft()
            try:
                if job.read == 0:
                    budget -= len(job.source or ())
                    self._restore(job)
            except Exception as error:
                job.active.tell_failed(error)
                continue
            counts[job] = self._count(job, max(1, budget))
            budget -= counts[job]
            passes.setdefault(self._pass_of(job, counts[job]), []).append(job)
        results = []
        for jobs in passes.values():
            try:
                result = self._read(jobs, counts)
                if result is None:
                    self.jobs += jobs
                else:
                    self._complete(result)
                    results.append(result)
            except Exception as error:
                for job in jobs:
                    job.active.tell_failed(error)
        return results

    def keep(self, session: Session, row: int, tokens: Sequence[int]) -> None:
        """Put what a row has read into the prefix cache."""
        if self._splits and self._engine.source_vocab_size is None:
            self._prefix_cache.insert(tokens, lambda start, stop: session.save(row, start, stop))

    def _restore(self, job: PrefillJob) -> None:
        """Begin a job with what the prefix cache has of it; at least its last token is left to read."""
        if not self._splits or job.source is not None or job.is_scored:
            return
        self._counters.prefix_lookups += 1
        blocks = self._prefix_cache.find(job.tokens[:-1])
        if blocks:
            job.session = self._engine.restore(blocks)
            job.read = job.reused = len(blocks) * BLOCK_TOKENS
            self._counters.prefix_hits += 1
            self._counters.prefix_tokens_reused += job.read

    def _count(self, job: PrefillJob, budget: int) -> int:
        """How many tokens of a job to read in this turn."""
        most = max(1, MAX_LOGITS // self._engine.vocab_size) if job.is_scored else job.left
        return min(job.left, most, budget) if self._splits else min(job.left, most)

    def _pass_of(self, job: PrefillJob, count: int) -> Hashable:
        """Jobs of which this is equal are read in one pass."""
        if not self._joins or count < job.left or job.is_scored or job.active.limit == 0:
            return job
        if job.session is None:
            return "fresh", job.kind
        # Rows with a beginning have unlike lengths: only engines that keep them without padding read them together.
        return ("rest", job.kind) if self._engine.is_batch_invariant else job

    def _read(self, jobs: list[PrefillJob], counts: dict[PrefillJob, int]) -> PrefillResult | None:
        """One pass over these jobs; None if one of them is not complete after it, which then is the only one."""
        first, scored = jobs[0], jobs[0].is_scored
        pieces = [job.tokens[job.read : job.read + counts[job]] for job in jobs]
        if first.session is None:
            sources = [job.source for job in jobs if job.source is not None]
            # A pass gives the logits of the last token alone, so where all are wanted it reads one.
            read = [piece[:1] for piece in pieces] if scored else pieces
            first.session, logits = self._engine.prefill(read, sources or None)
            if scored:
                first.add_scores(logits)
                pieces = [piece[1:] for piece in pieces]
        else:
            first.session.join([job.session for job in jobs[1:] if job.session is not None])
            logits = None
        if logits is None or (scored and pieces[0]):
            logits = first.session.extend(pieces, every=scored)
            if scored:
                first.add_scores(logits)
        for job in jobs:
            job.read += counts[job]
        return None if first.left else PrefillResult(jobs, first.session, logits[-1:] if scored else logits)

    def _complete(self, result: PrefillResult) -> None:
        for row, job in enumerate(result.jobs):
            self.keep(result.session, row, job.tokens)
            job.tell()
