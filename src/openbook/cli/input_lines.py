"""Lines of a file or of standard input, for `openbook ask`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from openbook.text.corpus.readers.encodings import named_encoding
from openbook.text.corpus.readers.lines import InvalidLine, read_file_lines, read_lines
from openbook.text.output import warn
from openbook.text.printable import printable_path


def input_name(file: Path | None) -> str:
    """The input, for messages; None and - are standard input."""
    return "standard input" if file is None or str(file) == "-" else printable_path(file)


def read_input(file: Path | None, encoding: str | None = None) -> Iterator[str | InvalidLine]:
    """Each line of a file, or of standard input, or why it is no text. A guessed encoding is said on standard error.

    Raises:
        OSError: it cannot be read.
        OpenbookError: it is binary, or the encoding is unknown.
    """
    if file is None or str(file) == "-":
        return read_lines(sys.stdin.buffer, encoding and named_encoding(encoding))
    found, lines = read_file_lines(file, encoding)
    if found.guess is not None:
        warn(f"{input_name(file)}: guessed the encoding: {found.name} ({found.guess}); --encoding settles it")
    return lines
