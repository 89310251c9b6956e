"""A request's receipt: its events, as they come, for a thread or for asyncio."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from openbook.generation.batching.events import Event, Failed, Finished


class Ticket:
    """The events of one request. Read them in one way at a time; reading ends after the last.

    As a context manager it cancels what is left when it is left.

    Args:
        request_id: names the request.
        choices: how many of them finish.
        when_cancelled: is told that something was cancelled.
    """

    def __init__(self, request_id: str, choices: int, when_cancelled: Callable[["Ticket"], None]) -> None:
        self.id = request_id
        self._open = choices
        self._when_cancelled = when_cancelled
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._waiter: asyncio.Future[None] | None = None
        self._cancelled: set[int] = set()
        self._all_cancelled = False

    def cancel(self, choice: int | None = None) -> None:
        """Nobody waits for this choice any more, or for any: its rows are free before the next step."""
        if choice is None:
            self._all_cancelled = True
        else:
            self._cancelled.add(choice)
        self._when_cancelled(self)

    def is_cancelled(self, choice: int | None = None) -> bool:
        """Whether this choice is cancelled; all of them if None."""
        return self._all_cancelled or choice in self._cancelled

    @property
    def is_complete(self) -> bool:
        """Whether the last event has come, read or not."""
        return self._open == 0

    def put(self, events: Sequence[Event]) -> "asyncio.Future[None] | None":
        """Add events and wake the thread that waits for them; return what an event loop waits for."""
        with self._changed:
            for event in events:
                self._events.append(event)
                if isinstance(event, Finished):
                    self._open -= 1
                elif isinstance(event, Failed):
                    self._open = 0
            self._changed.notify_all()
            waiter, self._waiter = self._waiter, None
            return waiter

    def get(self, timeout: float | None = None) -> Event | None:
        """The next event, waiting for it; None after the last.

        Raises:
            TimeoutError: none came in so many seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._events or self.is_complete, timeout):
                raise TimeoutError(f"no event in {timeout} s")
            return self._events.popleft() if self._events else None

    def __iter__(self) -> Iterator[Event]:
        while (event := self.get()) is not None:
            yield event

    async def __aiter__(self) -> AsyncIterator[Event]:
        while await self._arrived():
            yield self._events.popleft()

    async def next_events(self) -> list[Event]:
        """All events that have come and were not read, waiting for one at least; [] after the last."""
        if not await self._arrived():
            return []
        with self._changed:
            events = list(self._events)
            self._events.clear()
        return events

    async def _arrived(self) -> bool:
        """Wait until there is an event; False where none comes any more."""
        while True:
            with self._changed:
                if self._events or self.is_complete:
                    return bool(self._events)
                waiter = self._waiter = asyncio.get_running_loop().create_future()
            await waiter

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.is_complete:
            self.cancel()


class Outbox:
    """Events of a step, delivered together: an event loop is woken once, not once for every row."""

    def __init__(self) -> None:
        self._events: dict[Ticket, list[Event]] = {}

    def add(self, ticket: Ticket, events: Sequence[Event]) -> None:
        """These come after those that were added before."""
        self._events.setdefault(ticket, []).extend(events)

    def deliver(self) -> None:
        """Put all events on their tickets."""
        arrived, self._events = self._events, {}
        waiters: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for ticket, events in arrived.items():
            if (waiter := ticket.put(events)) is not None:
                waiters.setdefault(waiter.get_loop(), []).append(waiter)
        for loop, waiting in waiters.items():
            with suppress(RuntimeError):  # the loop is closed: nobody reads any more
                loop.call_soon_threadsafe(_wake, waiting)


def _wake(waiters: "Sequence[asyncio.Future[None]]") -> None:
    for waiter in waiters:
        if not waiter.done():  # its task was cancelled meanwhile
            waiter.set_result(None)
