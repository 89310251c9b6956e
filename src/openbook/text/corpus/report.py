"""What preparation read, removed and left out."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openbook.text.corpus.readers.encodings import Certainty
from openbook.text.formatting import format_bytes, format_count

MOST_NAMES = 8
"""Named in one line of the report."""


@dataclass(frozen=True)
class FileReport:
    """What was done with one file.

    Attributes:
        source: the file.
        encoding: its character encoding, or its format.
        bytes_read: size of the file.
        bytes_kept: of its text in the corpus.
        chapters: how many were found.
        gutenberg_characters: length of the Project Gutenberg header and footer that were removed.
        guess: how sure its encoding is, where it is a guess.
        replaced_characters: how many were damaged and became U+FFFD.
        notes: a line for each part of it that was left out.
    """

    source: str
    encoding: str
    bytes_read: int
    bytes_kept: int
    chapters: int = 1
    gutenberg_characters: int = 0
    guess: Certainty | None = None
    replaced_characters: int = 0
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """What was done with all files, for people (`lines`) and for programs (`report.json`).

    Attributes:
        files: those that were read.
        problems: a line for each file that was left out: its name, what is wrong, the cure.
        exact_passages: removed because the same text occurs earlier.
        near_passages: removed because nearly the same text occurs earlier.
    """

    files: tuple[FileReport, ...] = ()
    problems: tuple[str, ...] = ()
    exact_passages: int = 0
    exact_bytes: int = 0
    near_passages: int = 0
    near_bytes: int = 0

    @classmethod
    def load(cls, path: Path) -> "Report":
        """Read a report. Raises OSError, KeyError, TypeError or ValueError where there is none."""
        content = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(FileReport(**file) for file in content.pop("files"))
        return cls(files, tuple(content.pop("problems")), **content)

    def lines(self) -> list[str]:
        """Sentences about what was read and what was removed."""
        read = sum(file.bytes_read for file in self.files)
        lines = [f"Read {format_count(len(self.files), 'file')}, {format_bytes(read)}."]
        if stripped := [file for file in self.files if file.gutenberg_characters]:
            lines.append(f"Removed the Project Gutenberg header and footer of {format_count(len(stripped), 'file')}.")
        for kind, passages, amount in (
            ("that occur twice", self.exact_passages, self.exact_bytes),
            ("that nearly repeat another", self.near_passages, self.near_bytes),
        ):
            if passages:
                lines.append(f"Removed {format_count(passages, 'passage')} ({format_bytes(amount)}) {kind}.")
        return [*lines, *self.notes("see report.json")]

    def notes(self, details: str = "") -> list[str]:
        """Sentences about what may be wrong: guessed encodings, damaged characters, what was left out.

        Args:
            details: where more names are, for a sentence that has no room for all.
        """
        left_out = (f"Left out {problem}" for problem in self._left_out(details))
        return [*self._encoding_lines(details), *left_out]

    def _encoding_lines(self, details: str) -> Iterator[str]:
        """Which encodings are guesses, and how many characters are lost; the unsure first."""
        guessed = sorted((file for file in self.files if file.guess), key=lambda file: file.guess != "unsure")
        if guessed:
            each = [f"{file.source} is {file.encoding} ({file.guess})" for file in guessed]
            yield f"Guessed the encoding: {_some(each, details)}; if one is wrong, name it with --encoding."
        damaged = sorted(
            (file for file in self.files if file.replaced_characters), key=lambda file: -file.replaced_characters
        )
        if damaged:
            total = sum(file.replaced_characters for file in damaged)
            each = [f"{file.source} ({file.replaced_characters:,})" for file in damaged]
            yield f"Replaced {format_count(total, 'damaged character')} with U+FFFD: {_some(each, details)}."

    def _left_out(self, details: str) -> Iterator[str]:
        yield from self.problems
        for file in self.files:
            if file.notes:
                yield f"of {file.source}: {_some(file.notes, details)}"


def _some(names: Sequence[str], details: str) -> str:
    """The first few names, and how many there are besides."""
    more = len(names) - MOST_NAMES
    where = f" ({details})" if details else ""
    return ", ".join(names[:MOST_NAMES]) + (f" and {more:,} more{where}" if more > 0 else "")
