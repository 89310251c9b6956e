"""The first stage of preparation: a batch of files → one UTF-8 file of clean text and a record of what is in it."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from openbook.errors import OpenbookError
from openbook.progress import Advance
from openbook.text.corpus.chunking import paragraph_chunks
from openbook.text.corpus.cleaning.chapters import Chapter, add_heading, find_headings
from openbook.text.corpus.cleaning.gutenberg import GutenbergStripper
from openbook.text.corpus.readers.document import RawDocument, read_document
from openbook.text.corpus.readers.encodings import Certainty
from openbook.text.corpus.working_directory import write_json
from openbook.text.formatting import format_count
from openbook.text.printable import printable_path

MINIMUM_CHARACTERS = 32
"""A file with less text teaches nothing."""


class Extraction:
    """What is extracted in one go, into two files that `stem` names."""

    stem: Path

    @property
    def text(self) -> Path:
        """The file with the text of all documents."""
        return self.stem.with_suffix(".txt")

    @property
    def result(self) -> Path:
        """The file that `ExtractedBatch.load` reads."""
        return self.stem.with_suffix(".json")


@dataclass(frozen=True)
class FileBatch(Extraction):
    """Files to read in one task.

    Attributes:
        paths: the files.
        stem: names the results, stem.txt and stem.json.
        size: of all files, in bytes.
        held_out: these are validation files, from which nothing is removed.
        encoding: of the text files; None finds it out.
    """

    paths: tuple[Path, ...]
    stem: Path
    size: int
    held_out: bool
    encoding: str | None = None


@dataclass
class Document:
    """One file within the text of its batch. All offsets are in bytes from the start of that text.

    Attributes:
        source: the file.
        encoding: its character encoding, or its format.
        bytes_read: size of the file.
        start: where its text starts.
        end: where its text ends.
        held_out: it is a validation file.
        gutenberg_characters: length of the Project Gutenberg header and footer that were removed.
        guess: how sure its encoding is, where it is a guess.
        replaced_characters: how many were damaged and became U+FFFD.
        visible_characters: how many are not white space at the ends of a chunk.
        notes: a line for each part of it that was left out.
        chapters: at least one.
        boundaries: offsets between paragraphs, about a megabyte apart, including start and end.
    """

    source: str
    encoding: str
    bytes_read: int
    start: int
    end: int = 0
    held_out: bool = False
    gutenberg_characters: int = 0
    guess: Certainty | None = None
    replaced_characters: int = 0
    visible_characters: int = 0
    notes: list[str] = field(default_factory=list)
    chapters: list[Chapter] = field(default_factory=list)
    boundaries: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class ExtractedBatch:
    """The documents of a batch, and a line for each file that could not be read."""

    documents: list[Document]
    problems: list[str]

    @classmethod
    def load(cls, path: Path) -> "ExtractedBatch":
        """Read the result of `extract_batch`."""
        content = json.loads(path.read_text(encoding="utf-8"))
        for document in content["documents"]:
            document["chapters"] = [Chapter(**chapter) for chapter in document["chapters"]]
        return cls([Document(**document) for document in content["documents"]], content["problems"])


def extract_batch(batch: FileBatch, advance: Advance) -> None:
    """Write the text of a batch and the record of it; a file that cannot be read leaves a problem and no text."""
    extracted = ExtractedBatch([], [])
    with batch.text.open("wb") as output:
        for path in batch.paths:
            start = output.tell()
            try:
                extracted.documents.append(_extract(path, output, batch, advance))
            except OpenbookError as error:
                extracted.problems.append(str(error))
                output.seek(start)
                output.truncate()
    write_json(batch.result, dataclasses.asdict(extracted))


def _extract(path: Path, output: IO[bytes], batch: FileBatch, advance: Advance) -> Document:
    raw = read_document(path, batch.encoding)
    document = Document(printable_path(path), raw.encoding, raw.bytes, output.tell(), held_out=batch.held_out)
    document.guess, document.notes = raw.guess, raw.notes
    write_document(document, raw, output, None if batch.held_out else GutenbergStripper(), advance)
    require_text(document, path)
    return document


def write_document(
    document: Document,
    raw: RawDocument,
    output: IO[bytes],
    stripper: GutenbergStripper | None,
    advance: Advance,
    beginning: bool = True,
) -> None:
    """Write the clean text of a document, and note in it what is there.

    Args:
        document: its text starts where the output is.
        raw: gives the text.
        output: a file.
        stripper: leaves out what is Project Gutenberg's; None: nothing is.
        advance: is told of the bytes read.
        beginning: whether the text begins a file.
    """
    read = written = advanced = 0

    def counted(chunks: Iterable[str]) -> Iterator[str]:
        nonlocal read, advanced
        for chunk in chunks:
            read += len(chunk)
            document.replaced_characters += chunk.count("\ufffd")
            step = min(len(chunk), raw.bytes - advanced)  # characters are close enough to bytes for a progress bar
            advanced += step
            advance(step)
            yield chunk

    chunks = counted(raw.chunks)
    position = document.start
    for marked in paragraph_chunks(chunks if stripper is None else stripper.strip(chunks, beginning)):
        document.boundaries.append(position)
        text, headings = find_headings(marked)
        written += len(marked)
        document.visible_characters += len(marked.strip())
        last = 0
        for offset, title in headings:
            position += output.write(text[last:offset].encode("utf-8", "replace"))
            if not document.chapters and position > document.start:
                add_heading(document.chapters, document.start, "")
            add_heading(document.chapters, position, title)
            last = offset
        position += output.write(text[last:].encode("utf-8", "replace"))
    advance(raw.bytes - advanced)
    document.boundaries.append(position)
    document.end = position
    document.gutenberg_characters = read - written
    document.chapters = document.chapters or [Chapter(document.start, "")]


def require_text(document: Document, path: Path) -> None:
    """Raises OpenbookError where there is too little text to learn from."""
    visible = document.visible_characters
    if visible < (MINIMUM_CHARACTERS if path.suffix.lower() == ".pdf" else 1):
        what = f"only {format_count(visible, 'character')} of text" if visible else "no text in it"
        raise OpenbookError(f"{printable_path(path)}: {what}; leave it out or join it with others")
