"""Lines of a file or a pipe, one at a time. A line ends at LF, CR LF or CR, and nowhere else."""

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from openbook.text.corpus.readers.encodings import BYTE_ORDER_MARKS, Encoding, detect_encoding, named_encoding

LONGEST_LINE = 1 << 20
"""Characters; a longer line is skipped without being held in memory."""

UNDECODED = re.compile("[\udc80-\udcff]")
"""What the error handler surrogateescape makes of bytes that do not fit the encoding."""


class InvalidLine(Enum):
    """Why a line is no text, or has no pair."""

    UNREADABLE = "not readable"
    NO_PAIR = "no two texts"
    TOO_LONG = "over-long"


def read_file_lines(path: Path, given: str | None = None) -> tuple[Encoding, Iterator[str | InvalidLine]]:
    """The encoding of a file, and its lines as `read_lines` gives them.

    Args:
        path: a file; or a pipe, which cannot be read twice, so that its encoding is not guessed.
        given: the encoding that the user names; None finds it out.

    Raises:
        OpenbookError: the file is binary, or the encoding given is unknown.
    """
    if path.exists() and not path.is_file():
        name = given and named_encoding(given)
        return Encoding(name or "utf-8"), _lines_of(path, name)
    encoding = detect_encoding(path, given=given)
    if encoding.guess is None:
        return encoding, _lines_of(path, encoding.name)
    return encoding, _lines_of(path, "utf-8", encoding.name)


def _lines_of(path: Path, encoding: str | None, guess: str | None = None) -> Iterator[str | InvalidLine]:
    with path.open("rb") as file:
        yield from read_lines(file, encoding, guess)


def read_lines(file: BinaryIO, encoding: str | None = None, guess: str | None = None) -> Iterator[str | InvalidLine]:
    """Each line without its line end, or why it is no text.

    A line that does not fit the encoding is decoded in the guessed one, so lines of another encoding do not spoil the
    rest. A line with NUL is not readable.

    Args:
        file: a file or a pipe; it stays open.
        encoding: None: UTF-8, or what a byte order mark says.
        guess: the encoding to try where UTF-8 does not fit.
    """
    if encoding is None:
        encoding = _marked(file)
    wide = encoding.startswith(("utf-16", "utf-32"))
    text = io.TextIOWrapper(file, encoding, errors="replace" if wide else "surrogateescape", newline=None)
    try:
        while line := text.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE and not line.endswith("\n"):
                while line and not line.endswith("\n"):
                    line = text.readline(LONGEST_LINE)
                yield InvalidLine.TOO_LONG
                continue
            yield _readable(line.removesuffix("\n"), encoding, guess, wide)
    finally:
        with suppress(ValueError):  # the file was closed before its last line was read
            text.detach()


def _readable(line: str, encoding: str, guess: str | None, wide: bool) -> str | InvalidLine:
    if "\0" in line or (wide and "\ufffd" in line):
        return InvalidLine.UNREADABLE
    if line.isascii() or not UNDECODED.search(line):
        return line
    with suppress(UnicodeError):
        if guess is not None:
            return line.encode(encoding.removesuffix("-sig"), "surrogateescape").decode(guess)
    return InvalidLine.UNREADABLE


def _marked(file: BinaryIO) -> str:
    """The encoding of the byte order mark at the beginning, else UTF-8."""
    peek = getattr(file, "peek", None)
    start = file.getvalue()[:4] if isinstance(file, io.BytesIO) else peek(4) if peek else b""
    return next((name for mark, name in BYTE_ORDER_MARKS if start.startswith(mark)), "utf-8")
