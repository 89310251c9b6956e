"""Many inputs at once: sorted by length, so that batches have little padding, and given back in their own order.

Inputs come in windows, each worked on as a whole: one that holds all that has arrived keeps a pipe flowing line by
line, and a file goes through in windows of many batches.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

WINDOW = 4096
"""Most inputs that are sorted together."""
WORTH_A_THREAD = 8
"""Inputs from which another thread is worth its while."""


class Waiting(Generic[Item]):
    """Inputs that wait for their turn, longest first. Threads may share them.

    Args:
        items: with their lengths in tokens.
        most_tokens: of a batch, each counted as long as the longest of them.
    """

    def __init__(self, items: Sequence[Item], lengths: Sequence[int], most_tokens: int) -> None:
        self._items, self._lengths, self._most_tokens = items, lengths, most_tokens
        self._places = sorted(range(len(items)), key=lambda each: -lengths[each])
        self._lock = threading.Lock()

    def take(self) -> list[tuple[int, Item]]:
        """The next batch of inputs, each with its place."""
        with self._lock:
            most = self._next()
            taken, self._places = self._places[:most], self._places[most:]
            return [(place, self._items[place]) for place in taken]

    def ending(self) -> bool:
        """Whether no more than one batch waits."""
        with self._lock:
            return len(self._places) <= self._next()

    def _next(self) -> int:
        """How many inputs the next batch has."""
        return max(1, self._most_tokens // max(1, self._lengths[self._places[0]])) if self._places else 0

    def take_empty(self) -> list[int]:
        """The places of all inputs of no length, which need no work."""
        with self._lock:
            empty = [place for place in self._places if not self._lengths[place]]
            self._places = self._places[: len(self._places) - len(empty)]  # the shortest are last
            return empty

    def clear(self) -> None:
        """Nothing waits any more."""
        with self._lock:
            self._places = []


def batches(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """The places of inputs in batches of like lengths, longest first.

    Padded to its longest, each holds at most `most_tokens` tokens, or one input.
    """
    waiting = Waiting(lengths, lengths, most_tokens)
    while taken := waiting.take():
        yield [place for place, _ in taken]


def in_order(
    windows: Iterable[Sequence[Item]],
    length: Callable[[Item], int],
    work: Callable[[Waiting[Item]], Iterable[tuple[int, Result]]],
    most_tokens: int,
    threads: int = 1,
) -> Iterator[Result]:
    """The result of every item, in the items' order, each as soon as those before it are there.

    Args:
        windows: groups of items; one is worked on as a whole before the next is asked for.
        length: of an item, in tokens.
        work: takes what waits, bit by bit, and gives the place and the result of each item as they are found.
        most_tokens: padded tokens of a batch.
        threads: how many work at once, where a window has enough for each; see `at_once`.
    """
    for window in windows:
        done: dict[int, Result] = {}
        given = 0
        lengths = [length(item) for item in window]
        share = max(1, -(-sum(lengths) // threads))
        several = threads > 1 and len(window) >= threads * WORTH_A_THREAD
        waiting = Waiting(window, lengths, min(most_tokens, share) if several else most_tokens)
        results = at_once(waiting, work, threads) if several else work(waiting)
        for place, result in results:
            done[place] = result
            while given in done:
                yield done.pop(given)
                given += 1
        assert given == len(window), "every item of a window has a result"


def at_once(
    waiting: Waiting[Item], work: Callable[[Waiting[Item]], Iterable[Result]], threads: int
) -> Iterator[Result]:
    """The results of so many threads that take of what is `waiting` until nothing is left.

    Small models leave cores idle if all of them share each product, and Python waits in between; a batch for each core
    keeps them busy.
    """
    results: queue.SimpleQueue[Result | _End] = queue.SimpleQueue()
    closed = threading.Event()

    def one() -> None:
        end = _End()
        torch.set_num_threads(1)
        try:
            for result in work(waiting):
                results.put(result)
                if closed.is_set():
                    break
        except BaseException as error:
            end = _End(error)
        results.put(end)

    before = torch.get_num_threads()
    running = [threading.Thread(target=one, daemon=True) for _ in range(threads)]
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
        torch.set_num_threads(before)  # the products' library knows one number for all threads


def arriving(items: Iterable[Item], most: int = WINDOW) -> Iterator[list[Item]]:
    """What has come in since last asked, at least one item and at most so many; a thread reads on meanwhile.

    An error of `items` is raised after what came before it.
    """
    waiting: queue.Queue[Item | _End] = queue.Queue(most)
    closed = threading.Event()

    def read() -> None:
        end = _End()
        try:
            for item in items:
                if not _put(waiting, item, closed):
                    return
        except BaseException as error:
            end = _End(error)
        _put(waiting, end, closed)

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            window: list[Item] = []
            newest = waiting.get()
            while not isinstance(newest, _End):
                window.append(newest)
                if len(window) == most or waiting.empty():
                    break
                newest = waiting.get()
            if window:
                yield window
            if isinstance(newest, _End):
                if newest.error is not None:
                    raise newest.error
                return
    finally:
        closed.set()


class _End:
    """Nothing more comes, or what went wrong."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def _put(waiting: "queue.Queue[Item | _End]", item: "Item | _End", closed: threading.Event) -> bool:
    """Put it there as soon as there is room; False if nobody takes any more."""
    while not closed.is_set():
        try:
            waiting.put(item, timeout=0.2)
            return True
        except queue.Full:
            continue
    return False
