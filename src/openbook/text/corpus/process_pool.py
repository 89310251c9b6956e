"""Runs tasks whose results are files, on all cores where that pays; tasks whose result exists are skipped."""

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

MINIMUM_BYTES_FOR_PROCESSES = 24 << 20
"""Of text; with less, starting processes takes longer than it saves."""


class Task(Protocol):
    """A unit of work with a file as its result."""

    @property
    def result(self) -> Path:
        """The file that is written last, atomically: if it exists, the task is done."""

    @property
    def size(self) -> int:
        """Bytes of text to process."""


AnyTask = TypeVar("AnyTask", bound=Task)


def run_tasks(
    function: Callable[[AnyTask, Advance], None],
    tasks: Iterable[AnyTask],
    processes: int | None,
    advance: Advance,
) -> None:
    """Run `function` on all tasks without a result; `processes` None: one per core if there is enough text.

    Raises:
        OpenbookError: worker processes cannot run. Whatever `function` raises passes through.
    """
    remaining = []
    for task in tasks:
        if task.result.exists():
            advance(task.size)
        else:
            remaining.append(task)
    if processes is None:
        enough = sum(task.size for task in remaining) >= MINIMUM_BYTES_FOR_PROCESSES
        processes = _cores() if enough else 1
    if min(processes, len(remaining)) <= 1:
        for task in remaining:
            function(task, advance)
        return
    # Spawned, not forked: the caller may have threads (torch has), and forking those can hang.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(remaining)), spawn, initializer=_end_with_parent)
    try:
        running = {pool.submit(_run_silently, function, task): task.size for task in remaining}
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


def _run_silently(function: Callable[[AnyTask, Advance], None], task: AnyTask) -> None:
    function(task, lambda amount: None)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_parent() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
