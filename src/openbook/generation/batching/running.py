"""The requests under way: their prompts that are read, their rows that decode, and the room that they take."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from openbook.generation.batching.active_request import ActiveRequest
from openbook.generation.batching.beam_group import BeamGroup
from openbook.generation.batching.fair_queue import OUTPUT_COST
from openbook.generation.batching.limits import BatchLimits, Counters, Gauges
from openbook.generation.batching.prefill import Prefill, PrefillJob, PrefillResult
from openbook.generation.batching.prefix_cache import PrefixCache
from openbook.generation.batching.sampling_group import Row, SamplingGroup
from openbook.generation.engines.engine import Engine, Session
from openbook.generation.settings import BeamSearch

IDLE_PREFILL = 4
"""How many times more of a prompt is read in a turn while no row decodes."""
SPARE_TOKENS = 32
"""Room that there must be for a row to grow before it is admitted."""


class Running:
    """What one thread works on, in turns.

    Rows of an exact engine that cannot promise bits in batches are each computed alone, from prompts read whole.

    Args:
        engine: computes.
        limits: how much there may be.
        counters: of the batcher.
        exact: the same request always gets the same bits.
    """

    def __init__(self, engine: Engine, limits: BatchLimits, counters: Counters, *, exact: bool) -> None:
        self._engine, self._limits, self._counters = engine, limits, counters
        self._joins = engine.is_batch_invariant or not exact
        self._splits = engine.is_split_invariant or not (exact or engine.is_batch_invariant)
        self._prefix_cache = PrefixCache(limits.prefix_cache_bytes)
        self._prefill = Prefill(engine, self._prefix_cache, counters, splits=self._splits, joins=self._joins)
        self._preempted: deque[PrefillJob] = deque()
        self._samples: list[SamplingGroup] = []
        self._searches: list[BeamGroup] = []
        self._order: dict[ActiveRequest, int] = {}  # in which they were admitted
        self._admitted = 0
        self._costs: Counter[str] = Counter()

    @property
    def is_busy(self) -> bool:
        """Whether a turn has anything to do."""
        return bool(self._prefill.jobs or self._preempted or self._samples or self._searches)

    @property
    def rows(self) -> int:
        """Rows that decode or will, once their prompts are read."""
        return self._decoding_rows + sum(job.rows for job in (*self._prefill.jobs, *self._preempted))

    @property
    def tokens(self) -> int:
        """Tokens that all rows hold, or will once their prompts are read."""
        held = sum(self._row_tokens(row) for row in self._sampling_rows())
        held += sum(active.most_tokens for active in self._searching())
        return held + sum(map(self._job_tokens, self._prefill.jobs))

    def has_room_for(self, active: ActiveRequest) -> bool:
        """Whether another request may begin; one alone always may. Those that made room for others come first."""
        if self._preempted:
            return False
        wanted = active.most_tokens
        if self._splits and not isinstance(active.request.decoding, BeamSearch):
            wanted -= active.request.sampled * max(0, active.limit - SPARE_TOKENS)
        return self._has_room(active.request.sampled, wanted)

    def admit(self, active: ActiveRequest) -> None:
        """Begin to read the prompt of a request."""
        self._admitted += 1
        self._order[active] = self._admitted
        choices = active.begin() if active.limit else []
        prompt = active.request.prompt
        if self._joins or len(choices) < 2:
            self._prefill.jobs.append(PrefillJob(active, choices, prompt, tells=True))
        else:
            jobs = [PrefillJob(active, [choice], prompt, tells=choice.number == 0) for choice in choices]
            self._prefill.jobs.extend(jobs)

    def read(self) -> None:
        """Drop what nobody waits for, and read a piece of the prompts."""
        self._drop_cancelled()
        self._restart_preempted()
        decodes = bool(self._samples or self._searches)
        for result in self._prefill.turn(self._limits.prefill_tokens * (1 if decodes else IDLE_PREFILL)):
            self._begin(result)

    def step(self) -> None:
        """A token for every row."""
        self._make_room()
        for group in list(self._samples):
            self._step_samples(group)
        for search in list(self._searches):
            self._step_search(search)
        self._samples = [group for group in self._samples if group.rows]
        self._searches = [search for search in self._searches if search.actives]
        self._order = {active: number for active, number in self._order.items() if not active.is_over}

    def cancel_all(self) -> None:
        """Nobody waits for anything any more."""
        for active in self._order:
            active.tell_cancelled()
        self._forget()
        self._prefix_cache.clear()

    def fail_all(self, error: Exception) -> None:
        """All that is under way fails."""
        for active in self._order:
            active.tell_failed(error)
        self._forget()

    def take_costs(self) -> Counter[str]:
        """What clients were served since this was asked last."""
        costs, self._costs = self._costs, Counter()
        return costs

    def measured(self) -> Gauges:
        """What it does now; of requests it does not know how many wait, so whoever does counts them."""
        return Gauges(
            rows_active=self._decoding_rows,
            rows_prefilling=sum(job.rows for job in (*self._prefill.jobs, *self._preempted)),
            requests_queued=0,
            requests_active=0,
            batch_tokens=self.tokens,
            prefix_cache_bytes=self._prefix_cache.nbytes,
            counters=replace(self._counters),
        )

    @property
    def _decoding_rows(self) -> int:
        sampling = sum(len(group.rows) for group in self._samples)
        return sampling + sum(active.request.sampled for active in self._searching())

    def _sampling_rows(self) -> Iterator[Row]:
        return (row for group in self._samples for row in group.rows)

    def _searching(self) -> Iterator[ActiveRequest]:
        return (active for search in self._searches for active in search.actives.values())

    def _row_tokens(self, row: Row) -> int:
        """What a row counts for: what it holds, or all that it may come to hold if it cannot make room for others."""
        return row.held_tokens if self._splits else row.active.most_tokens // row.active.request.sampled

    def _job_tokens(self, job: PrefillJob) -> int:
        active = job.active
        if isinstance(active.request.decoding, BeamSearch):
            return active.most_tokens
        if not self._splits:
            return len(job.choices) * (active.most_tokens // active.request.sampled)
        return len(job.choices) * (len(job.tokens) + len(job.source or ()))

    def _has_room(self, rows: int, tokens: int) -> bool:
        if not self.rows:
            return True
        return self.rows + rows <= self._limits.max_rows and self.tokens + tokens <= self._limits.max_batch_tokens

    def _begin(self, result: PrefillResult) -> None:
        """The rows of these jobs decode from now on; all have the same decoding, or all sample."""
        decoding = result.jobs[0].active.request.decoding
        try:
            if not isinstance(decoding, BeamSearch):
                self._begin_samples(result)
            elif result.jobs[0].active.limit:
                self._begin_searches(result, decoding)
        except Exception as error:
            _fail((job.active for job in result.jobs), error)

    def _begin_samples(self, result: PrefillResult) -> None:
        rows: list[Row] = []
        places: list[int] = []
        for place, job in enumerate(result.jobs):
            for choice in job.choices:
                row = Row(job.active, choice)
                if self._is_waited_for(row) and row.take_next(result.logits[place]):
                    rows.append(row)
                    places.append(place)
        self._charge(job.active for job in result.jobs for _ in job.choices)
        if not rows:
            return
        if places != list(range(len(result.jobs))):
            result.session.reorder(places)
        group = SamplingGroup(result.session, rows)
        if self._joins and self._samples:
            self._samples[0].join(group)
        else:
            self._samples.append(group)

    def _begin_searches(self, result: PrefillResult, settings: BeamSearch) -> None:
        group = BeamGroup([job.active for job in result.jobs], settings, result.session, result.logits)
        group.step()
        alike = [each for each in self._searches if each.kind == group.kind] if self._joins else []
        if not group.actives:
            return
        if alike:
            alike[0].join(group)
        else:
            self._searches.append(group)

    def _step_samples(self, group: SamplingGroup) -> None:
        self._counters.steps += 1
        self._charge(row.active for row in group.rows)
        try:
            group.step(self._leave)
        except Exception as error:
            _fail((row.active for row in group.rows), error)
            group.rows = []

    def _step_search(self, group: BeamGroup) -> None:
        self._counters.steps += 1
        self._charge(active for active in group.actives.values() for _ in range(active.request.sampled))
        try:
            group.step()
        except Exception as error:
            _fail(group.actives.values(), error)
            group.actives = {}

    def _charge(self, actives: Iterable[ActiveRequest]) -> None:
        for active in actives:
            self._costs[active.request.client] += OUTPUT_COST

    def _leave(self, session: Session, place: int, row: Row) -> None:
        """A row leaves; its newest token was not read."""
        self._prefill.keep(session, place, row.choice.tokens[:-1])

    def _is_waited_for(self, row: Row) -> bool:
        """Whether somebody waits for a row; if not, it is told so."""
        if row.active.is_over:
            return False
        if row.active.is_cancelled(row.choice):
            row.active.tell_cancelled(row.choice)
            return False
        return True

    def _drop_cancelled(self) -> None:
        for group in self._samples:
            group.keep([self._is_waited_for(row) for row in group.rows], self._leave)
        self._samples = [group for group in self._samples if group.rows]
        for search in self._searches:
            search.drop_cancelled()
        self._searches = [search for search in self._searches if search.actives]
        for jobs in (self._prefill.jobs, self._preempted):
            going = [job for job in jobs if self._is_job_waited_for(job)]
            jobs.clear()
            jobs.extend(going)

    def _is_job_waited_for(self, job: PrefillJob) -> bool:
        if job.active.is_cancelled():
            job.active.tell_cancelled()
        if job.active.is_over:
            return False
        had_choices = bool(job.choices)
        job.choices = [choice for choice in job.choices if self._is_waited_for(Row(job.active, choice))]
        return bool(job.choices) or not had_choices

    def _make_room(self) -> None:
        """While there is not enough room, the row that came last is put off: it is read again when there is."""
        while self._splits and self.tokens > self._limits.max_batch_tokens:
            rows = list(self._sampling_rows())
            if len({row.active for row in rows}) + len(self._searches) + len(self._prefill.jobs) < 2 or not rows:
                return
            last = max(rows, key=lambda row: (self._order[row.active], row.choice.number))
            for group in self._samples:
                if last in group.rows:
                    group.keep([row is not last for row in group.rows], self._leave)
            self._samples = [group for group in self._samples if group.rows]
            self._preempted.append(PrefillJob(last.active, [last.choice], last.choice.tokens, tells=False))
            self._counters.preemptions += 1

    def _restart_preempted(self) -> None:
        while self._preempted:
            job = self._preempted[0]
            if not self._has_room_again(job):
                return
            self._prefill.jobs.append(self._preempted.popleft())

    def _has_room_again(self, job: PrefillJob) -> bool:
        if not (self._samples or self._searches or self._prefill.jobs):
            return True
        return self.tokens + self._job_tokens(job) + SPARE_TOKENS <= self._limits.max_batch_tokens

    def _forget(self) -> None:
        self._prefill.jobs.clear()
        self._preempted.clear()
        self._samples, self._searches, self._order = [], [], {}


def _fail(actives: Iterable[ActiveRequest], error: Exception) -> None:
    for active in {*actives}:
        active.tell_failed(error)
