"""Sentence pairs, read a line at a time from tab-separated files, JSON lines or two aligned files, and filtered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Literal, NamedTuple

from openbook.errors import OpenbookError
from openbook.text.characters import clean_line
from openbook.text.corpus.readers.encodings import Encoding
from openbook.text.corpus.readers.lines import InvalidLine, read_file_lines
from openbook.text.formatting import format_count
from openbook.text.plain_files import open_plain
from openbook.text.printable import printable_path
from openbook.training.data.pair_formats import (
    Pair,
    begins_json_array,
    parse_json_line,
    read_json_array,
    read_table,
)

JSON_SUFFIXES = {".json", ".jsonl", ".ndjson"}
TAB_SUFFIXES = {".tsv", ".tab"}

LONGEST_SIDE = 10_000
"""Bytes of a sentence; models of the sizes trained here see fewer tokens."""
LENGTH_RATIO, LENGTH_SLACK = 5, 50
"""A sentence of over five times the bytes of its translation, and fifty more, is taken for a wrong pair."""

FIRST_CHARACTERS = 1 << 16
"""Of a JSON file, which tell whether it is one array."""

Numbered = Iterator[tuple[int, Pair | InvalidLine]]


@dataclass(frozen=True)
class PairFile:
    """One file of pairs, or two aligned ones: line n of the second translates line n of the first."""

    paths: tuple[Path, ...]
    kind: Literal["tabs", "json", "aligned"]
    encoding: str | None = None
    """None finds it out."""

    @property
    def name(self) -> str:
        """The file or files, for messages."""
        return " and ".join(printable_path(path) for path in self.paths)

    @property
    def size(self) -> int:
        """Bytes of the file, or of both."""
        return sum(path.stat().st_size for path in self.paths)


def find_pair_files(paths: Sequence[Path], encoding: str | None = None) -> list[PairFile]:
    """Tell the kind of each file by its suffix, else by whether its first line has a tab.

    Files of neither kind are taken two by two: the sources, then their translations.

    Raises:
        OpenbookError: the second of two files is missing, or a file cannot be read or is none.
    """
    files: list[PairFile] = []
    sources: Path | None = None
    for path in paths:
        _check_plain(path)
        suffix = path.suffix.lower()
        if suffix in JSON_SUFFIXES:
            files.append(PairFile((path,), "json", encoding))
        elif suffix in TAB_SUFFIXES or (sources is None and "\t" in _first_line(path, encoding)):
            files.append(PairFile((path,), "tabs", encoding))
        elif sources is None:
            sources = path
        else:
            files.append(PairFile((sources, path), "aligned", encoding))
            sources = None
    if sources is not None:
        raise OpenbookError(
            f"{printable_path(sources)}: has no tabs, so it should be one of two aligned files; name the other after "
            "it (or give lines of source, tab, target)"
        )
    return files


class OpenedPairs(NamedTuple):
    """A file of pairs that is being read."""

    notes: list[str]
    """What was guessed or found about the file, for people."""
    unit: str
    """What the pairs are numbered by: line, or item of an array."""
    pairs: Numbered
    """The number of each line, from 1, with its pair or why it has none."""


def open_pairs(file: PairFile) -> OpenedPairs:
    """Find out the encoding and the layout of a file of pairs, and begin to read it.

    Raises:
        OpenbookError: a file is binary or cannot be read, two aligned files differ in their number of lines, or an
            array is damaged. It is raised here, or while the pairs are read.
    """
    try:
        notes, unit, pairs = _open(file)
        return OpenedPairs(notes, unit, _readable(file, pairs))
    except OSError as error:
        raise _unreadable(file.name, error) from error


def read_pairs(file: PairFile) -> Numbered:
    """The number of each line, from 1, with its pair or why it has none; raises as `open_pairs`."""
    return open_pairs(file).pairs


def read_all_pairs(paths: Sequence[Path], encoding: str | None = None) -> tuple[list[Pair], int, list[str]]:
    """All clean pairs of these files, the number of lines without one, and what was guessed or found.

    Raises:
        OpenbookError: a file cannot be read, two aligned files differ in their number of lines, or there are no pairs.
    """
    pairs: list[Pair] = []
    lines, notes = 0, []
    for file in find_pair_files(paths, encoding):
        opened = open_pairs(file)
        notes += [f"{file.name}: {note}" for note in opened.notes]
        for _, found in opened.pairs:
            lines += 1
            if isinstance(found, Pair) and all(cleaned := Pair(*map(clean_line, found))):
                pairs.append(cleaned)
    if not pairs:
        raise OpenbookError("there are no pairs; give lines of source, tab, target")
    return pairs, lines - len(pairs), notes


def _open(file: PairFile) -> tuple[list[str], str, Numbered]:
    if file.kind == "aligned":
        sides = [read_file_lines(path, file.encoding) for path in file.paths]
        notes = [note for path, (found, _) in zip(file.paths, sides, strict=True) for note in _guess(found, path)]
        return notes, "line", _read_aligned(file, *(lines for _, lines in sides))
    path = file.paths[0]
    encoding, lines = read_file_lines(path, file.encoding)
    notes = _guess(encoding)
    if file.kind == "tabs":
        layout, pairs = read_table(lines)
        return notes + layout.notes(), "line", pairs
    with path.open(encoding=encoding.name, errors="replace") as text:
        is_array = begins_json_array(text.readline(FIRST_CHARACTERS))
    if is_array:
        return notes, "item", enumerate(_items(path, encoding), start=1)
    parsed = (parse_json_line(line) if isinstance(line, str) else line for line in lines)
    return notes, "line", enumerate(parsed, start=1)


def _items(path: Path, encoding: Encoding) -> Iterator[Pair | InvalidLine]:
    with path.open(encoding=encoding.name, errors="replace") as text:
        yield from read_json_array(printable_path(path), text)


def _guess(encoding: Encoding, path: Path | None = None) -> list[str]:
    where = "" if path is None else f" of {printable_path(path)}"
    guessed = f"guessed the encoding{where}: {encoding.name} ({encoding.guess}); --encoding settles it"
    return [guessed] if encoding.guess else []


def _readable(file: PairFile, pairs: Numbered) -> Numbered:
    try:
        yield from pairs
    except OSError as error:
        raise _unreadable(file.name, error) from error


def _unreadable(name: str, error: OSError) -> OpenbookError:
    return OpenbookError(f"{name}: cannot be read ({error.strerror}); check its name and permissions")


def _read_aligned(file: PairFile, first: Iterator[str | InvalidLine], second: Iterator[str | InvalidLine]) -> Numbered:
    sources = targets = 0
    for source, target in zip_longest(first, second):
        sources += source is not None
        targets += target is not None
        if source is None or target is None:
            continue  # read on to the end, so that the message can say both numbers
        if isinstance(source, InvalidLine) or isinstance(target, InvalidLine):
            yield sources, source if isinstance(source, InvalidLine) else target  # type: ignore[misc]
        else:
            yield sources, Pair(source, target)
    if sources != targets:
        names = [printable_path(path) for path in file.paths]
        raise OpenbookError(
            f"{names[0]}: has {sources:,} lines and {names[1]} has {targets:,}; each line must be the translation of "
            "the other's, so mend the file that lacks some"
        )


def _check_plain(path: Path) -> None:
    """Refuse pipes and devices, which are read more than once and might never answer."""
    try:
        open_plain(path).close()
    except OSError as error:
        raise _unreadable(printable_path(path), error) from error


def _first_line(path: Path, encoding: str | None) -> str:
    """The first line that is not blank."""
    try:
        _, lines = read_file_lines(path, encoding)
        return next((line for line in lines if isinstance(line, str) and line.strip()), "")
    except OSError as error:
        raise _unreadable(printable_path(path), error) from error


@dataclass
class PairReport:
    """What became of the lines of a `PairFile`."""

    name: str
    lines: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """How many were dropped for each reason."""
    first: dict[str, int] = field(default_factory=dict)
    """The number of the first line that was dropped for each reason."""
    unit: str = "line"
    notes: list[str] = field(default_factory=list)
    """What was guessed or found about the file."""

    def drop(self, reason: str, line: int) -> None:
        """Count a line that is left out."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        self.first[reason] = min(self.first.get(reason, line), line)

    def __str__(self) -> str:
        said = f"{self.name}: {format_count(self.kept, 'pair')} of {format_count(self.lines, self.unit)}"
        if self.dropped:
            reasons = (
                f"{number:,} {why} (first: {self.unit} {self.first[why]:,})" for why, number in self.dropped.items()
            )
            said += f"; left out {', '.join(reasons)}"
        return "; ".join([said, *self.notes])


def clean_pair(pair: Pair | InvalidLine) -> Pair | str:
    """The pair with both sides as `clean_line` leaves them, or why it is left out."""
    if isinstance(pair, InvalidLine):
        return pair.value
    source, target = map(clean_line, pair)
    if not source or not target:
        return "one-sided" if source or target else "blank"
    shorter, longer = sorted((len(source.encode()), len(target.encode())))
    if longer > LONGEST_SIDE:
        return InvalidLine.TOO_LONG.value
    if longer > LENGTH_RATIO * shorter + LENGTH_SLACK:
        return "very unequal"
    return Pair(source, target)
