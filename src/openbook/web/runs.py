"""The runs that a page shows: the first one, and those that a person starts from the page."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from openbook.errors import OpenbookError
from openbook.explanation.page.page_run import PageRun

KEPT = 4
"""Runs that are kept; each holds its recorded numbers."""

Start = Callable[[Mapping[str, Any]], PageRun]
"""Starts a run from what a page asks for: prompt, target, raw, settings."""


class Runs:
    """Runs by number. One thread at a time computes, since a trace watches the model itself."""

    def __init__(self, first: PageRun, start: Start, lock: "threading.RLock | None" = None) -> None:
        """`lock`: of the model, where several pages show runs of one."""
        self.lock = threading.RLock() if lock is None else lock
        self._start, self._runs = start, OrderedDict({0: first})
        self._next = 1

    def prepare(self) -> None:
        """Compute what the first picture needs, while a browser opens."""

        def work() -> None:
            with self.lock:
                self._runs[0].prepare()

        threading.Thread(target=work, daemon=True).start()

    def __getitem__(self, number: int) -> PageRun:
        """A run by number.

        Raises:
            OpenbookError: there is no such run, or it is no longer kept.
        """
        with self.lock:
            if number not in self._runs:
                known = ", ".join(map(str, self._runs))
                raise OpenbookError(f"run {number} is not kept; there are {known}. Run the prompt again")
            self._runs.move_to_end(number)
            return self._runs[number]

    @property
    def kept_bytes(self) -> int:
        """The memory that the numbers of all runs take; asked without waiting for one that is under way."""
        return sum(page.run.kept_bytes for page in list(self._runs.values()))

    def start(self, wanted: Mapping[str, Any]) -> int:
        """Start another run; return its number.

        Raises:
            OpenbookError: a prompt or a setting is wrong.
        """
        with self.lock:
            number, self._next = self._next, self._next + 1
            self._runs[number] = self._start(wanted)
            while len(self._runs) > KEPT:
                oldest = next(each for each in self._runs if each != 0)
                del self._runs[oldest]
            return number
