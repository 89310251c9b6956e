"""A prepared corpus on disk: clean text in a training and a validation part, an index, and a report."""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from openbook.text.corpus.chapters import Chapter

PIECE = 1 << 20


@dataclass(frozen=True)
class DocumentIndex:
    """One document within a split; places in bytes from the start of the split's text file."""

    source: str
    start: int
    end: int
    chapters: tuple[Chapter, ...]
    """At least one, in order; the first starts where the document does, each ends where the next one starts."""


@dataclass(frozen=True)
class Split:
    """The training or the validation text: one UTF-8 file of documents end to end."""

    path: Path
    bytes: int
    documents: tuple[DocumentIndex, ...]

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[str]:
        """The text between two byte places (of whole characters), about a megabyte at a time."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        remaining = (self.bytes if end is None else end) - start
        with self.path.open("rb") as file:
            file.seek(start)
            while remaining > 0 and (block := file.read(min(PIECE, remaining))):
                remaining -= len(block)
                yield decoder.decode(block, final=remaining <= 0)

    def sample(self, limit: int) -> Iterator[str]:
        """All of the text, or about `limit` bytes of it in pieces spread evenly, without the characters they cut."""
        if self.bytes <= limit:
            yield from self.pieces()
            return
        count = max(1, limit // PIECE)
        with self.path.open("rb") as file:
            for each in range(count):
                file.seek(each * (self.bytes - PIECE) // count)
                yield file.read(min(PIECE, limit)).decode("utf-8", "ignore")


@dataclass(frozen=True)
class FileReport:
    """What was done with one file."""

    source: str
    encoding: str
    bytes_read: int
    bytes_kept: int
    chapters: int
    gutenberg_characters: int
    """Characters of Project Gutenberg's header and footer that were left out."""


@dataclass(frozen=True)
class Report:
    """What was done with all files, for people (`lines`) and programs (`report.json`)."""

    files: tuple[FileReport, ...] = ()
    problems: tuple[str, ...] = ()
    """One line for each file that was left out: its name, what is wrong, the cure."""
    exact_passages: int = 0
    exact_bytes: int = 0
    near_passages: int = 0
    near_bytes: int = 0

    def lines(self) -> list[str]:
        """Sentences about what was read and what was left out."""
        read = sum(file.bytes_read for file in self.files)
        lines = [f"Read {count(len(self.files), 'file')}, {size(read)}."]
        if stripped := [file for file in self.files if file.gutenberg_characters]:
            lines.append(f"Left out the Project Gutenberg header and footer of {count(len(stripped), 'file')}.")
        for kind, passages, amount in (
            ("that occur twice", self.exact_passages, self.exact_bytes),
            ("that nearly repeat another", self.near_passages, self.near_bytes),
        ):
            if passages:
                lines.append(f"Removed {count(passages, 'passage')} ({size(amount)}) {kind}.")
        return [*lines, *(f"Left out {problem}" for problem in self.problems)]


@dataclass(frozen=True)
class Corpus:
    """What `prepare` made; `fingerprint` names its inputs and options."""

    folder: Path
    fingerprint: str
    train: Split
    validation: Split
    report: Report = field(repr=False)

    @cached_property
    def bytes(self) -> int:
        """Bytes of text in both splits."""
        return self.train.bytes + self.validation.bytes

    def expectations(self) -> str | None:
        """What to hope for from little training text, as a sentence; None where there is enough for fluent prose."""
        amount = self.train.bytes
        for below, hope in (
            (10_000, "enough to try things out; a model will learn letters and repeat the text, no more"),
            (100_000, "enough to learn spelling and a few phrases, not to form sentences of its own"),
            (500_000, "enough for words and short phrases that look right; expect little sense"),
            (5_000_000, "enough for sentences in the style of the books; expect little sense across them"),
        ):
            if amount < below:
                return f"{size(amount)} of training text: {hope}."
        return None

    @classmethod
    def load(cls, folder: Path) -> "Corpus":
        """Open a prepared corpus. Raises OSError, KeyError, TypeError or ValueError where none is whole."""
        index = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        files = tuple(FileReport(**file) for file in report.pop("files"))
        problems = tuple(report.pop("problems"))
        train, validation = (_split(folder / f"{name}.txt", index[name]) for name in ("train", "validation"))
        return cls(folder, index["fingerprint"], train, validation, Report(files, problems, **report))


def _split(path: Path, content: dict[str, Any]) -> Split:
    if path.stat().st_size != content["bytes"]:
        raise ValueError(f"{path} was changed")
    documents = tuple(
        DocumentIndex(source, start, end, tuple(Chapter(*chapter) for chapter in chapters))
        for source, start, end, chapters in content["documents"]
    )
    return Split(path, content["bytes"], documents)


def size(amount: int) -> str:
    """Bytes for people: 812 bytes, 27 KB, 1.2 MB, 3.4 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if amount >= factor:
            return f"{amount / factor:.1f} {unit}"
    return f"{amount // 1000} KB" if amount >= 1000 else count(amount, "byte")


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
