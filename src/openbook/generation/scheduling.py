"""Many inputs at once: sorted by length, so that batches have little padding, and given back in their own order.

Inputs come in windows, each worked on as a whole: a window of all that has arrived keeps a pipe flowing line by line,
and a file goes through in windows of many batches.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WINDOW = 4096
"""Most inputs that are sorted together."""
MIN_ITEMS_PER_THREAD = 8
"""Fewer inputs than this for each thread are worked on by one."""


class WorkQueue(Generic[Item]):
    """Inputs to work on, longest first. Threads may share it.

    Args:
        items: the inputs.
        lengths: of each, in tokens.
        max_tokens: of a batch, each input counted as long as the longest of them.
    """

    def __init__(self, items: Sequence[Item], lengths: Sequence[int], max_tokens: int) -> None:
        self._items, self._lengths, self._max_tokens = items, lengths, max_tokens
        self._waiting = sorted(range(len(items)), key=lambda each: -lengths[each])
        self._lock = threading.Lock()

    def take(self) -> list[tuple[int, Item]]:
        """The next batch of inputs, each with its index; [] when none is left."""
        with self._lock:
            size = self._next_size()
            taken, self._waiting = self._waiting[:size], self._waiting[size:]
            return [(index, self._items[index]) for index in taken]

    def is_ending(self) -> bool:
        """Whether at most one more batch waits."""
        with self._lock:
            return len(self._waiting) <= self._next_size()

    def _next_size(self) -> int:
        """How many inputs the next batch has."""
        return max(1, self._max_tokens // max(1, self._lengths[self._waiting[0]])) if self._waiting else 0

    def take_empty(self) -> list[int]:
        """The indices of all inputs of length 0, which need no work."""
        with self._lock:
            empty = [index for index in self._waiting if not self._lengths[index]]
            self._waiting = self._waiting[: len(self._waiting) - len(empty)]  # the shortest are last
            return empty

    def clear(self) -> None:
        """Drop all that waits."""
        with self._lock:
            self._waiting = []


def batch_by_length(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """The indices of inputs in batches of similar length, longest first.

    Padded to its longest input, a batch holds at most `max_tokens` tokens, or a single input.
    """
    waiting = WorkQueue(lengths, lengths, max_tokens)
    while taken := waiting.take():
        yield [index for index, _ in taken]


def map_in_order(
    windows: Iterable[Sequence[Item]],
    length: Callable[[Item], int],
    work: Callable[[WorkQueue[Item]], Iterable[tuple[int, Result]]],
    max_tokens: int,
    threads: int = 1,
    set_cores: Callable[[int | None], None] = lambda cores: None,
) -> Iterator[Result]:
    """The result of every item, in the items' order, each as soon as those before it are there.

    Args:
        windows: groups of items; one is worked on as a whole before the next is asked for.
        length: of an item, in tokens.
        work: takes batches from the queue and yields the index and result of each item as they are found.
        max_tokens: padded tokens of a batch.
        threads: how many work at once, where a window has enough items for each; see `run_in_threads`.
        set_cores: see `Engine.set_cores`.
    """
    for window in windows:
        done: dict[int, Result] = {}
        yielded = 0
        lengths = [length(item) for item in window]
        share = max(1, -(-sum(lengths) // threads))
        in_threads = threads > 1 and len(window) >= threads * MIN_ITEMS_PER_THREAD
        waiting = WorkQueue(window, lengths, min(max_tokens, share) if in_threads else max_tokens)
        results = run_in_threads(waiting, work, threads, set_cores) if in_threads else work(waiting)
        for index, result in results:
            done[index] = result
            while yielded in done:
                yield done.pop(yielded)
                yielded += 1
        assert yielded == len(window), "every item of a window has a result"


def run_in_threads(
    waiting: WorkQueue[Item],
    work: Callable[[WorkQueue[Item]], Iterable[Result]],
    threads: int,
    set_cores: Callable[[int | None], None],
) -> Iterator[Result]:
    """The results of several threads that take batches from one queue until it is empty.

    If all cores share each product of a small model they are often idle, and Python runs in between; a batch for each
    core keeps them busy.
    """
    results: queue.SimpleQueue[Result | _End] = queue.SimpleQueue()
    closed = threading.Event()

    def run() -> None:
        end = _End()
        set_cores(1)
        try:
            for result in work(waiting):
                results.put(result)
                if closed.is_set():
                    break
        except BaseException as error:
            end = _End(error)
        results.put(end)

    running = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        left = threads
        while left:
            newest = results.get()
            if not isinstance(newest, _End):
                yield newest
                continue
            if newest.error is not None:
                raise newest.error
            left -= 1
    finally:
        closed.set()
        waiting.clear()
        for thread in running:
            thread.join()
        set_cores(None)


def read_ahead(items: Iterable[Item], max_items: int = WINDOW) -> Iterator[list[Item]]:
    """Windows of what has arrived since the last one, from 1 to `max_items` items; a thread reads on meanwhile.

    An error of `items` is raised after what came before it.
    """
    arrived: queue.Queue[Item | _End] = queue.Queue(max_items)
    closed = threading.Event()

    def read() -> None:
        end = _End()
        try:
            for item in items:
                if not _put(arrived, item, closed):
                    return
        except BaseException as error:
            end = _End(error)
        _put(arrived, end, closed)

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            window: list[Item] = []
            newest = arrived.get()
            while not isinstance(newest, _End):
                window.append(newest)
                if len(window) == max_items or arrived.empty():
                    break
                newest = arrived.get()
            if window:
                yield window
            if isinstance(newest, _End):
                if newest.error is not None:
                    raise newest.error
                return
    finally:
        closed.set()


class _End:
    """The end of the items, or the error that ended them."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def _put(arrived: "queue.Queue[Item | _End]", item: "Item | _End", closed: threading.Event) -> bool:
    """Put an item into the queue once there is room; return False if it is closed."""
    while not closed.is_set():
        try:
            arrived.put(item, timeout=0.2)
            return True
        except queue.Full:
            continue
    return False
