"""A file of any supported format → its text in chunks, so that memory stays bounded whatever the file's size."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.text.corpus.readers.encodings import decode_file, detect_encoding
from openbook.text.printable import printable_path


@dataclass(frozen=True)
class RawDocument:
    """The text of one file, before cleaning.

    Attributes:
        bytes: size of the file.
        encoding: the character encoding, or the format that implies it.
        chunks: the text, with LF line ends only, cut at line ends. A NUL character, which text cannot contain, marks
            the start of a line that the file itself marks as a heading.
    """

    bytes: int
    encoding: str
    chunks: Iterator[str]


def read_document(path: Path) -> RawDocument:
    """Open a file with the reader for its suffix; an unknown suffix is read as plain text.

    Raises:
        OpenbookError: the file cannot be read. It is raised here, or while the chunks are consumed.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a folder that cannot be listed" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise OpenbookError(f"{printable_path(path)}: {what}; check its permissions or leave it out")
        if status.st_size == 0:
            raise OpenbookError(f"{printable_path(path)}: empty; leave it out")
        encoding, chunks = _open(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return RawDocument(status.st_size, encoding, _report_disk_errors(path, chunks))


def _open(path: Path) -> tuple[str, Iterator[str]]:
    match path.suffix.lower():
        case ".md" | ".markdown":
            from openbook.text.corpus.readers.markdown import read_markdown

            return read_markdown(path)
        case ".html" | ".htm" | ".xhtml":
            from openbook.text.corpus.readers.html import read_html

            return read_html(path)
        case ".epub":
            from openbook.text.corpus.readers.epub import read_epub

            return "epub", _report_damage(path, read_epub(path))
        case ".pdf":
            from openbook.text.corpus.readers.pdf import read_pdf

            return "pdf", _report_damage(path, read_pdf(path))
        case _:
            encoding = detect_encoding(path)
            return encoding, decode_file(path, encoding)


def _report_disk_errors(path: Path, chunks: Iterator[str]) -> Iterator[str]:
    try:
        yield from chunks
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> OpenbookError:
    return OpenbookError(f"{printable_path(path)}: {error.strerror or error}; check the file and its permissions")


def _report_damage(path: Path, chunks: Iterator[str]) -> Iterator[str]:
    """Turn whatever a parser raises about a damaged archive or PDF into one line about the file."""
    try:
        yield from chunks
    except (OpenbookError, OSError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise OpenbookError(
            f"{printable_path(path)}: damaged ({reason}); get a sound copy or convert it to txt"
        ) from error
