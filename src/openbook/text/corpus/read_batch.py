"""The first stage of preparation: a batch of books → one UTF-8 file of clean text and the facts about it."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from openbook.errors import OpenbookError
from openbook.progress import Advance
from openbook.text.corpus.books import shown
from openbook.text.corpus.chapters import Chapter, add_heading, find_headings
from openbook.text.corpus.chunking import whole_paragraphs
from openbook.text.corpus.gutenberg import strip_gutenberg
from openbook.text.corpus.readers import read_book

SMALLEST = 32
"""Characters; a file with less teaches nothing."""


@dataclass(frozen=True)
class Batch:
    """Books to read in one go. `stem` names the results: stem.txt and stem.json."""

    books: tuple[Path, ...]
    stem: Path
    size: int
    held_out: bool
    """These are validation files: nothing is taken out of them."""

    @property
    def text(self) -> Path:
        return self.stem.with_suffix(".txt")

    @property
    def result(self) -> Path:
        return self.stem.with_suffix(".json")


@dataclass
class Document:
    """One book within the text file of its batch; all places are bytes from the start of that file."""

    source: str
    encoding: str
    bytes_read: int
    start: int
    end: int = 0
    held_out: bool = False
    stripped: int = 0
    """Characters of Project Gutenberg's header and footer that were left out."""
    chapters: list[Chapter] = field(default_factory=list)
    borders: list[int] = field(default_factory=list)
    """Indices between paragraphs, about a megabyte apart, the start and the end among them."""


@dataclass(frozen=True)
class Facts:
    """What became of a batch."""

    documents: list[Document]
    problems: list[str]

    @classmethod
    def load(cls, path: Path) -> "Facts":
        content = json.loads(path.read_text(encoding="utf-8"))
        for document in content["documents"]:
            document["chapters"] = [Chapter(**chapter) for chapter in document["chapters"]]
        return cls([Document(**document) for document in content["documents"]], content["problems"])


def read_batch(batch: Batch, advance: Advance) -> None:
    """Write a batch's text and facts; a book that cannot be read becomes a problem and leaves no text behind."""
    facts = Facts([], [])
    with batch.text.open("wb") as output:
        for path in batch.books:
            start = output.tell()
            try:
                facts.documents.append(_read(path, output, batch.held_out, advance))
            except OpenbookError as error:
                facts.problems.append(str(error))
                output.seek(start)
                output.truncate()
    save_json(batch.result, dataclasses.asdict(facts))


def _read(path: Path, output: IO[bytes], held_out: bool, advance: Advance) -> Document:
    reading = read_book(path)
    document = Document(shown(path), reading.encoding, reading.bytes, output.tell(), held_out=held_out)
    taken = written = visible = advanced = 0

    def counted(pieces: Iterable[str]) -> Iterator[str]:
        nonlocal taken, advanced
        for piece in pieces:
            taken += len(piece)
            step = min(len(piece), reading.bytes - advanced)  # characters are close enough to bytes for a progress bar
            advanced += step
            advance(step)
            yield piece

    clean = counted(reading.pieces) if held_out else strip_gutenberg(counted(reading.pieces))
    position = document.start
    for marked in whole_paragraphs(clean):
        document.borders.append(position)
        text, headings = find_headings(marked)
        written += len(marked)
        visible += len(marked.strip())
        last = 0
        for offset, title in headings:
            position += output.write(text[last:offset].encode("utf-8", "replace"))
            if not document.chapters and position > document.start:
                add_heading(document.chapters, document.start, "")
            add_heading(document.chapters, position, title)
            last = offset
        position += output.write(text[last:].encode("utf-8", "replace"))
    advance(reading.bytes - advanced)
    if visible < SMALLEST:
        what = f"only {visible} characters of text" if visible else "no text in it"
        raise OpenbookError(f"{shown(path)}: {what}; leave it out or join it with others")
    document.borders.append(position)
    document.end = position
    document.stripped = taken - written
    document.chapters = document.chapters or [Chapter(document.start, "")]
    return document


def save_json(path: Path, content: Any) -> None:
    """Write a JSON file so that it is there either whole or not at all."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(content), encoding="ascii")
    beside.replace(path)
