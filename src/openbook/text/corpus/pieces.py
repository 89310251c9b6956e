"""Large text files, read in pieces by several processes and joined again, as if one process had read them.

A piece begins behind a blank line. Where it begins depends on the file alone, not on the number of processes.
"""

import dataclasses
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from openbook.errors import OpenbookError
from openbook.progress import Advance
from openbook.text.corpus.cleaning.chapters import Chapter, add_heading
from openbook.text.corpus.cleaning.gutenberg import GutenbergStripper
from openbook.text.corpus.extraction import (
    Document,
    ExtractedBatch,
    Extraction,
    FileBatch,
    require_text,
    write_document,
)
from openbook.text.corpus.readers.document import read_piece
from openbook.text.corpus.readers.encodings import Encoding, detect_encoding
from openbook.text.corpus.readers.formats import detect_format
from openbook.text.corpus.working_directory import read_json_file, write_json
from openbook.text.printable import printable_path

PIECE_BYTES = 32 << 20
SEARCH_BYTES = 4 << 20
"""In which a blank line is looked for, behind the place where a piece should end; then a line end."""

BLANK_LINES = re.compile(rb"\n(?:[ \t\r\f\v]*\n)+")
UNCUT = ("utf-16", "utf-32", "utf-7", "utf_16", "utf_32", "utf_7", "iso2022", "hz")
"""Encodings in which a line-feed byte may be part of a character, or what follows depends on what was before."""


@dataclass(frozen=True)
class LargeFile:
    """A file to find pieces in: a task."""

    batch: FileBatch

    @property
    def path(self) -> Path:
        """The file."""
        return self.batch.paths[0]

    @property
    def size(self) -> int:
        """Bytes to read."""
        return self.batch.size

    @property
    def cuts(self) -> Path:
        """The file with its encoding, and where its pieces begin and end."""
        return self.batch.stem.with_suffix(".cuts")

    @property
    def result(self) -> Path:
        """The same."""
        return self.cuts

    def pieces(self) -> list["Piece"]:
        """Its pieces; call `find_pieces` first."""
        found = read_json_file(self.cuts)
        encoding, stem = Encoding(**found["encoding"]), self.batch.stem
        return [
            Piece(
                self.path,
                stem.with_name(f"{stem.name}-{number:06}"),
                span,
                dataclasses.replace(encoding, name=encoding.name.removesuffix("-sig")) if number else encoding,
                self.batch.held_out,
                beginning=number == 0,
            )
            for number, span in enumerate(pairwise(found["cuts"]))
        ]


class FileInPieces(LargeFile):
    """A file whose pieces are to be joined: a task."""

    @property
    def result(self) -> Path:
        """That of its batch."""
        return self.batch.result


@dataclass(frozen=True)
class Piece(Extraction):
    """A part of a text file: a task.

    Attributes:
        path: the file.
        stem: names the results, stem.txt and stem.json.
        span: the first byte and the one behind the last.
        encoding: of the file.
        held_out: it is a validation file.
        beginning: the piece begins the file.
        inside: its beginning belongs to a book, not to what Project Gutenberg writes between two of them.
    """

    path: Path
    stem: Path
    span: tuple[int, int]
    encoding: Encoding
    held_out: bool
    beginning: bool
    inside: bool = True

    @property
    def size(self) -> int:
        """Bytes to read."""
        return self.span[1] - self.span[0]


def is_large(batch: FileBatch) -> bool:
    """Whether a batch is one plain text of several pieces."""
    if len(batch.paths) > 1 or batch.size < 2 * PIECE_BYTES:
        return False
    try:
        return batch.paths[0].is_file() and detect_format(batch.paths[0]) == "text"
    except (OSError, OpenbookError):
        return False  # reading it says what is wrong


def find_pieces(file: LargeFile, advance: Advance) -> None:
    """Find the encoding of a file and where its pieces begin. What cannot be cut, or is no text, is one piece."""
    try:
        encoding = detect_encoding(file.path, given=file.batch.encoding)
        cuts = [0, file.size] if encoding.name.startswith(UNCUT) else _find_cuts(file.path, file.size)
    except (OSError, OpenbookError):  # `extract_batch` says what is wrong
        encoding, cuts = Encoding("utf-8"), [0, file.size]
    advance(file.size)
    write_json(file.cuts, {"encoding": dataclasses.asdict(encoding), "cuts": cuts})


def _find_cuts(path: Path, size: int) -> list[int]:
    cuts = [0]
    with path.open("rb") as file:
        for wanted in range(PIECE_BYTES, size - PIECE_BYTES + 1, PIECE_BYTES):
            cut = _find_cut(file, wanted)
            if cut is not None and cuts[-1] < cut < size:
                cuts.append(cut)
    return [*cuts, size]


def _find_cut(file: BinaryIO, wanted: int) -> int | None:
    file.seek(wanted - 1)
    window = file.read(SEARCH_BYTES)
    if blank := BLANK_LINES.search(window):
        return wanted - 1 + blank.end()
    line_end = window.find(b"\n")
    return None if line_end < 0 else wanted + line_end


def extract_piece(piece: Piece, advance: Advance) -> None:
    """Write the text of a piece and the record of it; an error is a part of the record."""
    encoding = piece.encoding
    document = Document(printable_path(piece.path), encoding.name, piece.size, 0, held_out=piece.held_out)
    document.guess = encoding.guess
    stripper = None if piece.held_out else GutenbergStripper(piece.inside)
    record: dict[str, object] = {"problem": None}
    with piece.text.open("wb") as output:
        try:
            raw = read_piece(piece.path, encoding, piece.span)
            write_document(document, raw, output, stripper, advance, piece.beginning)
        except OpenbookError as error:
            record["problem"] = str(error)
    record |= {"document": dataclasses.asdict(document), "inside": stripper is None or stripper.inside}
    write_json(piece.result, record)


def join_pieces(file: FileInPieces, advance: Advance) -> None:
    """Write the text and the record of a file whose pieces are extracted, as `extract_batch` does."""
    batch, pieces = file.batch, file.pieces()
    document: Document | None = None
    inside = True
    with batch.text.open("wb") as output:
        try:
            for piece in pieces:
                if not inside:  # seldom: a piece begins between two books
                    extract_piece(dataclasses.replace(piece, inside=False), lambda amount: None)
                record = read_json_file(piece.result)
                if record["problem"] is not None:
                    raise OpenbookError(record["problem"])
                inside = record["inside"]
                record["document"]["chapters"] = [Chapter(**each) for each in record["document"]["chapters"]]
                document = _appended(document, Document(**record["document"]))
                with piece.text.open("rb") as text:
                    shutil.copyfileobj(text, output, 1 << 20)
            assert document is not None
            require_text(document, file.path)
            extracted = ExtractedBatch([document], [])
        except OpenbookError as error:
            output.truncate(0)
            extracted = ExtractedBatch([], [str(error)])
    write_json(batch.result, dataclasses.asdict(extracted))
    for piece in pieces:
        piece.text.unlink(missing_ok=True)
    advance(file.size)


def _appended(document: Document | None, piece: Document) -> Document:
    """A document with the next piece of its file behind it."""
    if document is None:
        return piece
    shift = document.end
    if piece.end > piece.start:
        document.boundaries += [each + shift for each in piece.boundaries[1:]]
        for chapter in _chapters_of(piece):
            add_heading(document.chapters, chapter.start + shift, chapter.title)
    document.end += piece.end
    document.bytes_read += piece.bytes_read
    document.gutenberg_characters += piece.gutenberg_characters
    document.replaced_characters += piece.replaced_characters
    document.visible_characters += piece.visible_characters
    return document


def _chapters_of(piece: Document) -> Iterator[Chapter]:
    """Those that begin in it; what is before the first heading belongs to the chapter before."""
    yield from (chapter for chapter in piece.chapters if chapter.title or chapter.start > piece.start)
