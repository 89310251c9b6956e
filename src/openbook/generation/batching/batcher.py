"""Continuous batching: one thread decodes the requests of many clients, which join and leave between steps.

A turn reads a piece of the prompts that wait for it, then makes a step of all rows. Nothing that a request is answered
with depends on the others: on an engine that is batch invariant, the same request gets the same bits alone, in any
batch, after any prefix reuse, and after its row had to make room and was read again.
"""

import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from openbook.generation.batching.active_request import ActiveRequest
from openbook.generation.batching.errors import BatcherClosedError, QueueFullError, RequestTooLargeError
from openbook.generation.batching.fair_queue import PROMPT_COST, FairQueue
from openbook.generation.batching.limits import BatchLimits, Counters, Gauges
from openbook.generation.batching.request import BatchRequest
from openbook.generation.batching.running import Running
from openbook.generation.batching.ticket import Outbox, Ticket
from openbook.generation.engines.engine import Engine
from openbook.generation.engines.malloc import keep_freed_memory

MAX_RETRY_AFTER = 60
"""Seconds that a client is told to wait at most."""


class Batcher:
    """Answers requests on one thread of its own, many at once.

    Args:
        engine: of the model. Nobody else may use it meanwhile, unless it takes turns by itself.
        limits: how much to take at once.
        exact: the same request always gets the same bits, even if that takes computing each row alone.
    """

    def __init__(self, engine: Engine, limits: BatchLimits | None = None, *, exact: bool = False) -> None:
        keep_freed_memory()  # logits of a large vocabulary come and go all the time
        self.limits = limits or BatchLimits()
        self.exact = exact or engine.is_batch_invariant
        self._engine = engine
        self._counters, self._outbox = Counters(), Outbox()
        self._running = Running(engine, self.limits, self._counters, exact=exact)
        self._changed = threading.Condition()
        self._queue: FairQueue[ActiveRequest] = FairQueue()
        self._gone: list[ActiveRequest] = []  # cancelled in the queue
        self._deadline: float | None = None  # set once it is closed
        self._ends: deque[float] = deque(maxlen=32)  # when the last requests were complete
        self._taken = 0
        self._gauges = self._running.measured()
        self._thread = threading.Thread(target=self._run, name="openbook batcher", daemon=True)
        self._thread.start()

    def submit(self, request: BatchRequest) -> Ticket:
        """Take a request; its events come on the ticket. Never waits; any thread may call it.

        Raises:
            OpenbookError: this model cannot answer it.
            RequestTooLargeError: it needs more room than there is.
            QueueFullError: too many wait.
            BatcherClosedError: it was closed.
        """
        request.check(self._engine)
        ticket = Ticket(secrets.token_hex(8), request.choices, self._when_cancelled)
        active = ActiveRequest(request, ticket, self._outbox, self._engine, self._counters)
        if request.sampled > self.limits.max_rows:
            raise RequestTooLargeError(
                f"it takes {request.sampled} rows; at most {self.limits.max_rows} are computed at once"
            )
        if active.most_tokens > self.limits.max_batch_tokens:
            raise RequestTooLargeError(
                f"prompt and answers may come to {active.most_tokens:,} tokens; there is room for "
                f"{self.limits.max_batch_tokens:,}: ask for fewer with `max_tokens`, `n` or a shorter prompt"
            )
        with self._changed:
            self.check_queue()
            self._queue.put(request.client, active)
            self._taken += 1
            self._changed.notify_all()
        return ticket

    def check_queue(self) -> None:
        """Raise QueueFullError or BatcherClosedError if `submit` would now, before a request has been prepared."""
        with self._changed:
            if self._deadline is not None:
                raise BatcherClosedError
            if len(self._queue) >= self.limits.max_queue:
                raise QueueFullError(len(self._queue), self._retry_after())

    def gauges(self) -> Gauges:
        """What it does now, and has done."""
        with self._changed:
            counters = self._gauges.counters
            over = counters.requests_finished + counters.requests_cancelled + counters.requests_failed
            queued = len(self._queue)
            return replace(self._gauges, requests_queued=queued, requests_active=self._taken - queued - over)

    def close(self, drain: float = 0.0) -> None:
        """Take no more requests; finish those there are within so many seconds, cancel the rest, end the thread."""
        with self._changed:
            deadline = time.monotonic() + drain
            self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)
            self._changed.notify_all()
        self._thread.join()

    def _retry_after(self) -> int:
        """Seconds between two requests that are complete, as it was lately."""
        if len(self._ends) < 2:
            return 1
        each = (time.monotonic() - self._ends[0]) / (len(self._ends) - 1)
        return max(1, min(MAX_RETRY_AFTER, math.ceil(each)))

    def _when_cancelled(self, ticket: Ticket) -> None:
        """A request that waits leaves the queue at once; rows under way look before their next step."""
        with self._changed:
            self._gone += self._queue.remove(lambda active: active.ticket is ticket and active.is_cancelled())
            self._changed.notify_all()

    def _run(self) -> None:
        while self._wait_for_work():
            self._admit()
            self._guarded(self._running.read)
            self._outbox.deliver()  # readers do their work while the engine does its own
            self._guarded(self._running.step)
            self._finish_turn()
        self._running.cancel_all()
        self._finish_turn()

    def _wait_for_work(self) -> bool:
        """Return once there is something to do; False if nothing ever will be."""
        with self._changed:
            while not (self._queue or self._gone or self._running.is_busy):
                if self._deadline is not None:
                    return False
                self._changed.wait()
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._gone += self._queue.remove(lambda active: True)
            gone, self._gone = self._gone, []
            is_over = self._deadline is not None and time.monotonic() >= self._deadline
        for active in gone:
            active.tell_cancelled()
        return not is_over

    def _admit(self) -> None:
        """Take requests from the queue as long as there is room for them."""
        while True:
            with self._changed:
                active = self._queue.first()
                if active is None or not self._running.has_room_for(active):
                    return
                self._queue.pop()
                read = len(active.request.prompt) + len(active.request.source or ())
                self._queue.charge(active.request.client, PROMPT_COST * read)
            try:
                self._running.admit(active)
            except Exception as error:  # its grammar or its stop check cannot be made
                active.tell_failed(error)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Whatever goes wrong here fails the requests that are under way, and no other."""
        try:
            work()
        except Exception as error:
            self._running.fail_all(error)

    def _finish_turn(self) -> None:
        """Deliver what a turn has brought, and count it."""
        costs = self._running.take_costs()
        before = self._gauges.counters
        with self._changed:
            for client, cost in costs.items():
                self._queue.charge(client, cost)
            self._gauges = self._running.measured()
            after = self._gauges.counters
            self._ends.extend([time.monotonic()] * (after.requests_finished - before.requests_finished))
        self._outbox.deliver()
