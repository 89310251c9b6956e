"""Sentence pairs, read a line at a time from tab-separated files, JSON lines or two aligned files, and filtered."""

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple

from openbook.errors import OpenbookError
from openbook.text.corpus.readers.encodings import binary_file_error, detect_encoding
from openbook.text.formatting import format_count
from openbook.text.printable import printable_path

LONGEST_LINE = 1 << 20
"""Bytes; a longer line is skipped without being held in memory."""

JSON_SUFFIXES = {".json", ".jsonl", ".ndjson"}
TAB_SUFFIXES = {".tsv", ".tab"}
SIDE_NAMES = (("source", "target"), ("src", "tgt"))
"""Keys of the two sides in a JSON object. Without them its only two texts are taken, in their order."""

LONGEST_SIDE = 10_000
"""Bytes of a sentence; models of the sizes trained here see fewer tokens."""
LENGTH_RATIO, LENGTH_SLACK = 5, 50
"""A sentence of over five times the bytes of its translation, and fifty more, is taken for a wrong pair."""
WHITE_SPACE = str.maketrans("\t\r\n", "   ")


class InvalidLine(Enum):
    """Why a line has no pair."""

    UNREADABLE = "not readable"
    NO_PAIR = "no two texts"
    TOO_LONG = "over-long"


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


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
        OpenbookError: the second of two files is missing, or a file cannot be read.
    """
    files: list[PairFile] = []
    sources: Path | None = None
    for path in paths:
        suffix = path.suffix.lower()
        if suffix in JSON_SUFFIXES:
            files.append(PairFile((path,), "json", encoding))
        elif suffix in TAB_SUFFIXES or (sources is None and _has_tab(path, encoding)):
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


def read_pairs(file: PairFile) -> Iterator[tuple[int, Pair | InvalidLine]]:
    """The number of each line, from 1, with its pair or why it has none.

    Raises:
        OpenbookError: a file is binary or cannot be read, or two aligned files differ in their number of lines.
    """
    try:
        if file.kind == "aligned":
            yield from _read_aligned(file.paths[0], file.paths[1], file.encoding)
            return
        parse = _parse_json if file.kind == "json" else _parse_tabs
        for number, line in enumerate(_read_lines(file.paths[0], file.encoding), start=1):
            yield number, parse(line) if isinstance(line, str) else line
    except OSError as error:
        raise OpenbookError(
            f"{file.name}: cannot be read ({error.strerror}); check its name and permissions"
        ) from error


def read_all_pairs(paths: Sequence[Path], encoding: str | None = None) -> tuple[list[Pair], int]:
    """All pairs with two texts of these files, unfiltered, and the number of lines without one.

    Raises:
        OpenbookError: a file cannot be read, two aligned files differ in their number of lines, or there are no pairs.
    """
    pairs: list[Pair] = []
    lines = 0
    for file in find_pair_files(paths, encoding):
        for _, pair in read_pairs(file):
            lines += 1
            if isinstance(pair, Pair) and pair.source.strip() and pair.target.strip():
                pairs.append(pair)
    if not pairs:
        raise OpenbookError("there are no pairs; give lines of source, tab, target")
    return pairs, lines - len(pairs)


def _read_aligned(first: Path, second: Path, encoding: str | None) -> Iterator[tuple[int, Pair | InvalidLine]]:
    sources = targets = 0
    for source, target in zip_longest(_read_lines(first, encoding), _read_lines(second, encoding)):
        sources += source is not None
        targets += target is not None
        if source is None or target is None:
            continue  # read on to the end, so that the message can say both numbers
        if isinstance(source, InvalidLine) or isinstance(target, InvalidLine):
            yield sources, source if isinstance(source, InvalidLine) else target  # type: ignore[misc]
        else:
            yield sources, Pair(source, target)
    if sources != targets:
        raise OpenbookError(
            f"{printable_path(first)}: has {sources:,} lines and {printable_path(second)} has {targets:,}; each line "
            "must be the translation of the other's, so mend the file that lacks some"
        )


def _parse_tabs(line: str) -> Pair | InvalidLine:
    """The first two columns; any others, such as the author, are ignored."""
    source, tab, rest = line.partition("\t")
    return Pair(source, rest.partition("\t")[0]) if tab or not line.strip() else InvalidLine.NO_PAIR


def _parse_json(line: str) -> Pair | InvalidLine:
    if not line.strip():
        return Pair("", "")
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return InvalidLine.UNREADABLE
    if isinstance(content, dict) and isinstance(content.get("translation"), dict):
        content = content["translation"]
    texts = _two_texts(content)
    if texts is None:
        return InvalidLine.NO_PAIR
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return InvalidLine.UNREADABLE
    return Pair(*texts)


def _two_texts(content: Any) -> tuple[str, str] | None:
    if isinstance(content, dict):
        named = [names for names in SIDE_NAMES if set(names) <= content.keys()]
        content = [content[name] for name in named[0]] if named else [v for v in content.values() if isinstance(v, str)]
    if isinstance(content, list) and len(content) == 2 and all(isinstance(each, str) for each in content):
        return content[0], content[1]
    return None


def _has_tab(path: Path, encoding: str | None) -> bool:
    try:
        return "\t" in next(
            (line for line in _read_lines(path, encoding) if isinstance(line, str) and line.strip()), ""
        )
    except OSError as error:
        raise OpenbookError(
            f"{printable_path(path)}: cannot be read ({error.strerror}); check its name and permissions"
        ) from error


def _read_lines(path: Path, given: str | None) -> Iterator[str | InvalidLine]:
    """Each line without its line end, or why it is invalid.

    A line is decoded as UTF-8 if it can be, else in the encoding that was detected for the file, so a line in another
    encoding does not spoil the rest. With an encoding given, it is that one.
    """
    encoding = detect_encoding(path, given=given).name
    codecs_to_try = ("utf-8", encoding) if given is None else (encoding,)
    if encoding.startswith(("utf-16", "utf-32")):
        with path.open(encoding=encoding, errors="replace", newline="\n") as text:
            while line := text.readline(LONGEST_LINE):
                if len(line) < LONGEST_LINE:
                    yield InvalidLine.UNREADABLE if "\ufffd" in line else line.rstrip("\r\n")
                    continue
                while line and not line.endswith("\n"):
                    line = text.readline(LONGEST_LINE)
                yield InvalidLine.TOO_LONG
        return
    with path.open("rb") as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        while block := file.readline(LONGEST_LINE):
            if b"\0" in block:
                raise binary_file_error(path)
            if len(block) < LONGEST_LINE:
                yield _decode(block.rstrip(b"\r\n"), codecs_to_try)
                continue
            while block and not block.endswith(b"\n"):
                block = file.readline(LONGEST_LINE)
            yield InvalidLine.TOO_LONG


def _decode(line: bytes, encodings: Sequence[str]) -> str | InvalidLine:
    for codec in encodings:
        try:
            return line.decode(codec)
        except UnicodeDecodeError:
            continue
    return InvalidLine.UNREADABLE


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

    def drop(self, reason: str, line: int) -> None:
        """Count a line that is left out."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        self.first[reason] = min(self.first.get(reason, line), line)

    def __str__(self) -> str:
        said = f"{self.name}: {format_count(self.kept, 'pair')} of {format_count(self.lines, 'line')}"
        if not self.dropped:
            return said
        reasons = (f"{number:,} {why} (first: line {self.first[why]:,})" for why, number in self.dropped.items())
        return f"{said}; left out {', '.join(reasons)}"


def clean_pair(pair: Pair | InvalidLine) -> Pair | str:
    """The pair without white space around its sides and with no tabs or line ends in them, or why it is left out."""
    if isinstance(pair, InvalidLine):
        return pair.value
    source, target = (side.translate(WHITE_SPACE).strip() for side in pair)
    if not source or not target:
        return "one-sided" if source or target else "blank"
    shorter, longer = sorted((len(source.encode()), len(target.encode())))
    if longer > LONGEST_SIDE:
        return InvalidLine.TOO_LONG.value
    if longer > LENGTH_RATIO * shorter + LENGTH_SLACK:
        return "very unequal"
    return Pair(source, target)
