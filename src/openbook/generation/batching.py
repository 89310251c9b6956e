"""Many inputs at once: sorted by length, so that batches have little padding, and given back in their own order.

Inputs come in windows, each worked on as a whole: one that holds all that has arrived keeps a pipe flowing line by
line, and a file goes through in windows of many batches.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

WINDOW = 4096
"""Most inputs that are sorted together."""
WORTH_A_THREAD = 8
"""Inputs from which another thread is worth its while."""


def batches(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """The places of inputs in batches of like lengths, longest first.

    Padded to its longest, each holds at most `most_tokens` tokens, or one input.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda each: -lengths[each]):
        if batch and (len(batch) + 1) * max(1, lengths[batch[0]]) > most_tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def in_order(
    windows: Iterable[Sequence[Item]],
    length: Callable[[Item], int],
    work: Callable[[list[Item]], Iterable[tuple[int, Result]]],
    most_tokens: int,
    threads: int = 1,
) -> Iterator[Result]:
    """The result of every item, in the items' order, each as soon as those before it are there.

    Args:
        windows: groups of items; one is worked on as a whole before the next is asked for.
        length: of an item, in tokens.
        work: takes a batch, and gives the place in the batch and the result of each item as they are found.
        most_tokens: padded tokens of a batch.
        threads: batches at once, where a window has enough for each; see `at_once`.
    """
    for window in windows:
        done: dict[int, Result] = {}
        given = 0
        lengths = [length(item) for item in window]
        if len(window) >= threads * WORTH_A_THREAD:
            most_tokens = min(most_tokens, max(1, -(-sum(lengths) // threads)))
        parts = list(batches(lengths, most_tokens))

        def of_batch(batch: list[int], window: Sequence[Item] = window) -> Iterable[tuple[int, Result]]:
            return work([window[each] for each in batch])

        for batch, found in at_once(parts, of_batch, threads):
            for place, result in found:
                done[batch[place]] = result
                while given in done:
                    yield done.pop(given)
                    given += 1
        assert given == len(window), "every item of a window has a result"


def at_once(
    parts: Sequence[Item], work: Callable[[Item], Iterable[Result]], threads: int
) -> Iterator[tuple[Item, Iterable[Result]]]:
    """Each part with its results: one part after the other, or several at once on a thread each.

    Small models leave cores idle if all of them share each product, and Python waits in between; a batch for each core
    keeps them busy.
    """
    if threads == 1 or len(parts) == 1:
        yield from ((part, work(part)) for part in parts)
        return
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        waiting = {pool.submit(_all_of, work, part): part for part in parts}
        for finished in as_completed(waiting):
            yield waiting[finished], finished.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # the products' library knows one number for all threads


def _all_of(work: Callable[[Item], Iterable[Result]], part: Item) -> list[Result]:
    return list(work(part))


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
