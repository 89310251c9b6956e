"""A file of any supported format → its text in pieces, so that memory stays bounded whatever its size."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.text.corpus.books import shown
from openbook.text.corpus.encodings import decode, detect_encoding


@dataclass(frozen=True)
class Reading:
    """The text of one file: LF line ends only, in pieces that end at line borders.

    A NUL character (which text cannot have) stands before a line that the file itself marks as a heading.
    """

    bytes: int
    """Size of the file."""
    encoding: str
    pieces: Iterator[str]


def read_book(path: Path) -> Reading:
    """Open a book by its suffix; a suffix that is not known is read as plain text.

    Raises OpenbookError for whatever cannot be read, here or while the pieces are taken.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a folder that cannot be listed" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise OpenbookError(f"{shown(path)}: {what}; check its permissions or leave it out")
        if status.st_size == 0:
            raise OpenbookError(f"{shown(path)}: empty; leave it out")
        encoding, pieces = _open(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return Reading(status.st_size, encoding, _readable(path, pieces))


def _open(path: Path) -> tuple[str, Iterator[str]]:
    match path.suffix.lower():
        case ".md" | ".markdown":
            from openbook.text.corpus.markup import read_markdown

            return read_markdown(path)
        case ".html" | ".htm" | ".xhtml":
            from openbook.text.corpus.markup import read_html

            return read_html(path)
        case ".epub":
            from openbook.text.corpus.epub import read_epub

            return "epub", _undamaged(path, read_epub(path))
        case ".pdf":
            from openbook.text.corpus.pdf import read_pdf

            return "pdf", _undamaged(path, read_pdf(path))
        case _:
            encoding = detect_encoding(path)
            return encoding, decode(path, encoding)


def _readable(path: Path, pieces: Iterator[str]) -> Iterator[str]:
    try:
        yield from pieces
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> OpenbookError:
    return OpenbookError(f"{shown(path)}: {error.strerror or error}; check the file and its permissions")


def _undamaged(path: Path, pieces: Iterator[str]) -> Iterator[str]:
    """A damaged archive or PDF makes its parser raise almost anything; a person needs one line about the file."""
    try:
        yield from pieces
    except (OpenbookError, OSError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise OpenbookError(f"{shown(path)}: damaged ({reason}); get a sound copy or convert it to txt") from error
