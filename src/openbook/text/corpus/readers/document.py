"""A file of any supported format → its text in chunks, so that memory stays bounded whatever the file's size."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.text.characters import clean_chunks
from openbook.text.corpus.readers.encodings import Certainty, Encoding, decode_file, detect_encoding
from openbook.text.corpus.readers.formats import detect_format
from openbook.text.corpus.readers.limits import limit_time
from openbook.text.printable import printable_path

PDF_FACTOR = 10
"""How much longer than other formats a PDF may take: every letter is placed on its page."""


@dataclass(frozen=True)
class RawDocument:
    """The text of one file, before cleaning.

    Attributes:
        bytes: size of the file.
        encoding: the character encoding, or the format that implies it.
        guess: how sure the encoding is, where it is a guess.
        chunks: the text, with LF line ends only, cut at line ends. A NUL character, which text cannot contain, marks
            the start of a line that the file itself marks as a heading.
        notes: a line for each part of the file that was left out; complete once the chunks are consumed.
    """

    bytes: int
    encoding: str
    guess: Certainty | None
    chunks: Iterator[str]
    notes: list[str] = field(default_factory=list)


def read_document(path: Path, encoding: str | None = None) -> RawDocument:
    """Open a file with the reader for its format, which its content tells, else its suffix; else it is plain text.

    Args:
        path: the file.
        encoding: of text, HTML and Markdown; None finds it out.

    Raises:
        OpenbookError: the file cannot be read. It is raised here, or while the chunks are consumed.
    """
    name = printable_path(path)
    notes: list[str] = []
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a folder that cannot be listed" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise OpenbookError(f"{name}: {what}; check its permissions or leave it out")
        if status.st_size == 0:
            raise OpenbookError(f"{name}: empty; leave it out")
        detected, chunks = _open(path, encoding, notes)
    except OSError as error:
        raise _unreadable(path, error) from error
    chunks = _report_errors(path, limit_time(name, status.st_size, chunks, PDF_FACTOR if detected.name == "pdf" else 1))
    return RawDocument(status.st_size, detected.name, detected.guess, clean_chunks(chunks), notes)


def read_piece(path: Path, encoding: Encoding, span: tuple[int, int]) -> RawDocument:
    """A part of a large text file, from one byte to another.

    Raises:
        OpenbookError: the file cannot be read. It is raised while the chunks are consumed.
    """
    size = span[1] - span[0]
    chunks = _report_errors(path, limit_time(printable_path(path), size, decode_file(path, encoding.name, span)))
    return RawDocument(size, encoding.name, encoding.guess, clean_chunks(chunks))


def _open(path: Path, encoding: str | None, notes: list[str]) -> tuple[Encoding, Iterator[str]]:
    match detect_format(path):
        case "markdown":
            from openbook.text.corpus.readers.markdown import read_markdown

            return read_markdown(path, encoding)
        case "html":
            from openbook.text.corpus.readers.html import read_html

            return read_html(path, encoding)
        case "epub":
            from openbook.text.corpus.readers.epub import read_epub

            return Encoding("epub"), read_epub(path, notes)
        case "pdf":
            from openbook.text.corpus.readers.pdf import read_pdf

            return Encoding("pdf"), read_pdf(path)
        case "fb2" | "docx" | "odt" as office:
            from openbook.text.corpus.readers.office import read_office

            return Encoding(office), read_office(path, office)
        case "rtf":
            from openbook.text.corpus.readers.rtf import read_rtf

            return Encoding("rtf"), read_rtf(path)
    detected = detect_encoding(path, given=encoding)
    return detected, decode_file(path, detected.name)


def _report_errors(path: Path, chunks: Iterator[str]) -> Iterator[str]:
    """Turn errors of the disk, and whatever a parser raises about a damaged file, into one line about the file."""
    try:
        yield from chunks
    except OpenbookError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise OpenbookError(
            f"{printable_path(path)}: damaged ({reason}); get a sound copy or convert it to txt"
        ) from error


def _unreadable(path: Path, error: OSError) -> OpenbookError:
    return OpenbookError(f"{printable_path(path)}: {error.strerror or error}; check the file and its permissions")
