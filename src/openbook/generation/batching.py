"""Many inputs at once: sorted by length, so that batches have little padding, and given back in their own order.

Inputs come in windows, each worked on as a whole: one that holds all that has arrived keeps a pipe flowing line by
line, and a file goes through in windows of many batches.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WINDOW = 4096
"""Most inputs that are sorted together."""


def batches(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """The places of inputs in batches of like lengths, shortest first; padded to its longest, each holds at most
    `most_tokens` tokens, or one input."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda each: lengths[each]):
        if batch and (len(batch) + 1) * lengths[place] > most_tokens:
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
) -> Iterator[Result]:
    """The result of every item, in the items' order, each as soon as those before it are there.

    Args:
        windows: groups of items; one is worked on as a whole before the next is asked for.
        length: of an item, in tokens.
        work: takes a batch, and gives the place in the batch and the result of each item as they are found.
        most_tokens: padded tokens of a batch.
    """
    for window in windows:
        done: dict[int, Result] = {}
        given = 0
        for batch in batches([length(item) for item in window], most_tokens):
            for place, result in work([window[each] for each in batch]):
                done[batch[place]] = result
                while given in done:
                    yield done.pop(given)
                    given += 1
        assert given == len(window), "every item of a window has a result"


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
