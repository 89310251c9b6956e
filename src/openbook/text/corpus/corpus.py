"""A prepared corpus on disk: clean text in a training and a validation split, an index, and a report."""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from openbook.text.corpus.cleaning.chapters import Chapter
from openbook.text.corpus.report import Report
from openbook.text.formatting import format_bytes

CHUNK = 1 << 20


@dataclass(frozen=True)
class DocumentSpan:
    """One document within a split.

    Attributes:
        source: its file.
        start: in bytes from the start of the split's text file.
        end: likewise.
        chapters: at least one, in order; the first starts where the document does, each ends where the next one starts.
    """

    source: str
    start: int
    end: int
    chapters: tuple[Chapter, ...]


@dataclass(frozen=True)
class Split:
    """The training or the validation text: one UTF-8 file, document after document."""

    path: Path
    bytes: int
    documents: tuple[DocumentSpan, ...]

    def chunks(self, start: int = 0, end: int | None = None) -> Iterator[str]:
        """The text between two byte offsets (at character boundaries), about a megabyte at a time."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        remaining = (self.bytes if end is None else end) - start
        with self.path.open("rb") as file:
            file.seek(start)
            while remaining > 0 and (block := file.read(min(CHUNK, remaining))):
                remaining -= len(block)
                yield decoder.decode(block, final=remaining <= 0)

    def sample(self, limit: int) -> Iterator[str]:
        """The whole text, or about `limit` bytes of it in evenly spread chunks, without characters cut in half."""
        if self.bytes <= limit:
            yield from self.chunks()
            return
        count = max(1, limit // CHUNK)
        with self.path.open("rb") as file:
            for number in range(count):
                file.seek(number * (self.bytes - CHUNK) // count)
                yield file.read(min(CHUNK, limit)).decode("utf-8", "ignore")


@dataclass(frozen=True)
class Corpus:
    """What `prepare` makes; `fingerprint` identifies its inputs and options."""

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
        """What to expect from little training text, as a sentence; None where there is enough for fluent prose."""
        amount = self.train.bytes
        for below, expectation in (
            (10_000, "enough to try things out; a model will learn letters and repeat the text, no more"),
            (100_000, "enough to learn spelling and a few phrases, not to form sentences of its own"),
            (500_000, "enough for words and short phrases that look right; expect little sense"),
            (5_000_000, "enough for sentences in the style of the books; expect little sense across them"),
        ):
            if amount < below:
                return f"{format_bytes(amount)} of training text: {expectation}."
        return None

    @classmethod
    def load(cls, folder: Path) -> "Corpus":
        """Open a prepared corpus. Raises OSError, KeyError, TypeError or ValueError where none is complete."""
        index = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        train, validation = (_load_split(folder / f"{name}.txt", index[name]) for name in ("train", "validation"))
        return cls(folder, index["fingerprint"], train, validation, Report.load(folder / "report.json"))


def _load_split(path: Path, content: dict[str, Any]) -> Split:
    if path.stat().st_size != content["bytes"]:
        raise ValueError(f"{path} was changed")
    documents = tuple(
        DocumentSpan(source, start, end, tuple(Chapter(*chapter) for chapter in chapters))
        for source, start, end, chapters in content["documents"]
    )
    return Split(path, content["bytes"], documents)
