"""Standard input, output and error, made safe to use however the shell left them."""

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import TextIO

from openbook.errors import OpenbookError


class StandardOutput(io.TextIOWrapper):
    """Standard output. A write that fails is one line for people, never a read error of what was being read.

    Characters that its encoding lacks are written as escapes.
    """

    def __init__(self, descriptor: int, encoding: str) -> None:
        raw = io.FileIO(descriptor, "w", closefd=False)
        buffer = io.BufferedWriter(raw)
        super().__init__(buffer, encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty())
        self.before: Callable[[str], None] = lambda text: None
        """Called with each text before it is written, if this is a terminal."""
        self._is_terminal = raw.isatty()

    def write(self, text: str) -> int:
        """As a text file's.

        Raises:
            OpenbookError: it cannot be written.
            BrokenPipeError: its reader has gone.
        """
        try:
            if self._is_terminal:
                self.before(text)
            return super().write(text)
        except OSError as error:
            return self._failed(error)

    def flush(self) -> None:
        """As a text file's; raises as `write`."""
        try:
            super().flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> int:
        """Let what is still buffered go nowhere, or Python would try it again when it exits, and raise."""
        _discard(self.fileno())
        if isinstance(error, BrokenPipeError):
            raise error
        reason = "it is closed" if error.errno == errno.EBADF else error.strerror
        raise OpenbookError(f"standard output: cannot be written ({reason})") from None


class StandardError(StandardOutput):
    """Standard error. What cannot be written to it is lost: there is nowhere to say so."""

    def _failed(self, error: OSError) -> int:
        _discard(self.fileno())
        return 0


def use_safe_streams() -> tuple[StandardOutput, StandardError]:
    """Replace the three standard streams by ones that do not fail in the middle of something else.

    Where the shell closed one (`>&-`), its number is taken, lest a file that is opened later gets it and receives what
    is printed: reading gives nothing, writing to standard output says that it is closed.
    """
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        if not _is_open(descriptor):
            opened = os.open(os.devnull, mode)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.stdout = output = StandardOutput(1, _encoding(sys.stdout))
    sys.stderr = errors = StandardError(2, _encoding(sys.stderr))
    return output, errors


def flush_output() -> None:
    """Write what is still buffered; raises as `StandardOutput.write`."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _encoding(stream: TextIO | None) -> str:
    return "utf-8" if stream is None else stream.encoding


def _discard(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
