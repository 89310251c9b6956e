"""Tasks whose results are files: those that are there are skipped, the others done, on all cores if worth it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol, TypeVar

from openbook.errors import OpenbookError
from openbook.progress import Advance

WORTH_PROCESSES = 24 << 20
"""Bytes of text; with less, starting processes costs more time than it saves."""


class Task(Protocol):
    @property
    def result(self) -> Path:
        """The file that is written last and atomically, so that its presence means done."""

    @property
    def size(self) -> int:
        """Bytes of text that it goes through."""


AnyTask = TypeVar("AnyTask", bound=Task)


def run(
    function: Callable[[AnyTask, Advance], None],
    tasks: Iterable[AnyTask],
    processes: int | None,
    advance: Advance,
) -> None:
    """Do all tasks that have no result yet. `processes` defaults to one per core where there is enough text.

    Raises what the function raises, and OpenbookError where worker processes cannot run.
    """
    remaining = []
    for task in tasks:
        if task.result.exists():
            advance(task.size)
        else:
            remaining.append(task)
    if processes is None:
        processes = _cores() if sum(task.size for task in remaining) >= WORTH_PROCESSES else 1
    if min(processes, len(remaining)) <= 1:
        for task in remaining:
            function(task, advance)
        return
    # Spawned, not forked: the caller may have threads (torch has), and forking those can hang.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(remaining)), spawn, initializer=_end_with_parent)
    try:
        running = {pool.submit(_quietly, function, task): task.size for task in remaining}
        for done in as_completed(running):
            done.result()
            advance(running.pop(done))
    except BrokenProcessPool:
        raise OpenbookError(
            "worker processes ended unexpectedly: either memory ran out (use processes=1),"
            " or a script calls openbook outside of `if __name__ == '__main__':` (put it inside)"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _quietly(function: Callable[[AnyTask, Advance], None], task: AnyTask) -> None:
    function(task, lambda amount: None)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_parent() -> None:
    """Ctrl-C is the parent's to handle, and a parent that was killed must not leave workers behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
