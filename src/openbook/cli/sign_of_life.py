"""A line on the terminal that says the command is at work, wherever it prints nothing for a while."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from openbook.cli.streams import StandardOutput
from openbook.text.printable import printable
from openbook.training.group import is_silent

QUIET_SECONDS = 0.6
"""Without output before the line appears."""
TICK_SECONDS = 0.1
CLEAR = "\r\x1b[K"
CLEAN = ("\n", "\x1b[2K")
"""How output ends that leaves the cursor at the beginning of an empty line; the second is a bar that was cleared."""


class SignOfLife:
    """Shows the line after some quiet, and takes it away before the next output.

    It never appears behind half a line, such as an answer that is being written, a bar or a prompt for input.

    Args:
        what: what is at work.
        show: writes to the terminal.
        clock: in seconds.
    """

    def __init__(self, what: str, show: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._show, self._clock = what, show, clock
        self._begun = self._last = clock()
        self._clean, self._paused, self._ended = True, False, False
        self._shown = ""
        self._lock = threading.Lock()

    def written(self, text: str) -> None:
        """Called before text goes to the terminal."""
        with self._lock:
            self._clear()
            self._last = self._clock()
            if text:
                self._clean = text.endswith(CLEAN)

    def tick(self) -> None:
        """Show the line, or its new time, if it has been quiet for long enough."""
        with self._lock:
            now = self._clock()
            line = f"{self._what} … {now - self._begun:.0f} s"
            is_quiet = self._clean and now - self._last >= QUIET_SECONDS
            if is_quiet and not self._paused and not self._ended and line != self._shown:
                self._shown = line
                self._show(CLEAR + line)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Show nothing meanwhile: a person is at work."""
        with self._lock:
            self._clear()
            self._paused = True
        try:
            yield
        finally:
            with self._lock:
                self._paused, self._clean, self._begun = False, True, self._clock()
                self._last = self._begun

    def start(self) -> None:
        """Watch from a thread."""

        def watch() -> None:
            while not self._ended:
                time.sleep(TICK_SECONDS)
                self.tick()

        threading.Thread(target=watch, name="sign of life", daemon=True).start()

    def end(self) -> None:
        """Take the line away, for good."""
        with self._lock:
            self._clear()
            self._ended = True

    def _clear(self) -> None:
        if self._shown:
            self._shown = ""
            self._show(CLEAR)


_sign = SignOfLife("openbook", lambda text: None)
"""Of this process; one that shows nothing where standard error is no terminal."""


def start_sign_of_life(streams: Iterable[StandardOutput]) -> SignOfLife:
    """Show one for this process if standard error is a terminal, and hide it before these streams write to theirs."""
    global _sign
    if os.isatty(2) and os.environ.get("TERM") != "dumb" and not is_silent():
        verb = next((each for each in sys.argv[1:] if not each.startswith("-")), "")
        _sign = SignOfLife(printable(f"openbook {verb[:20]}".strip()), _to_terminal)
        for stream in streams:
            stream.before = _sign.written
        _sign.start()
    return _sign


def waiting_for_input() -> AbstractContextManager[None]:
    """Show none while a person writes, or other processes do."""
    return _sign.paused()


def _to_terminal(text: str) -> None:
    with suppress(OSError):
        os.write(2, text.encode())
