"""Files of sentence pairs, a line at a time: tab-separated, JSON lines, or two files whose lines belong together."""

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple

from openbook.errors import OpenbookError
from openbook.text.corpus.books import shown
from openbook.text.corpus.encodings import binary, detect_encoding

LONGEST_LINE = 1 << 20
"""Bytes; a longer line is passed over without being held in memory."""

JSON_SUFFIXES = {".json", ".jsonl", ".ndjson"}
TAB_SUFFIXES = {".tsv", ".tab"}
NAMES = (("source", "target"), ("src", "tgt"))
"""Names of the two sides in a JSON object; without them its only two texts are taken, in their order."""


class Fault(Enum):
    """What can be wrong with a line."""

    UNREADABLE = "not readable"
    NO_PAIR = "no two texts"
    TOO_LONG = "over-long"


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


@dataclass(frozen=True)
class PairFile:
    """One file of pairs, or two whose lines belong together."""

    paths: tuple[Path, ...]
    kind: Literal["tabs", "json", "aligned"]

    @property
    def name(self) -> str:
        """The file, or both, as a person would say it."""
        return " and ".join(shown(path) for path in self.paths)

    @property
    def size(self) -> int:
        """Bytes of it all."""
        return sum(path.stat().st_size for path in self.paths)


def find_pair_files(paths: Sequence[Path]) -> list[PairFile]:
    """Which kind each file is: by its suffix, else by whether its first line has a tab.

    Files of neither kind come in twos, the sources and then their translations.

    Raises:
        OpenbookError: one of two is missing, or a file cannot be read.
    """
    files: list[PairFile] = []
    waiting: Path | None = None
    for path in paths:
        suffix = path.suffix.lower()
        if suffix in JSON_SUFFIXES:
            files.append(PairFile((path,), "json"))
        elif suffix in TAB_SUFFIXES or (waiting is None and _has_tab(path)):
            files.append(PairFile((path,), "tabs"))
        elif waiting is None:
            waiting = path
        else:
            files.append(PairFile((waiting, path), "aligned"))
            waiting = None
    if waiting is not None:
        raise OpenbookError(
            f"{shown(waiting)}: has no tabs, so it is one of two files whose lines belong together; name the other "
            "behind it (or give lines of source, tab, target)"
        )
    return files


def read_pairs(file: PairFile) -> Iterator[tuple[int, Pair | Fault]]:
    """Every line's number, from 1, with its pair or what is wrong with it.

    Raises:
        OpenbookError: a file is binary or cannot be read, or two files differ in their number of lines.
    """
    try:
        if file.kind == "aligned":
            yield from _aligned(*file.paths)
            return
        of_line = _of_json if file.kind == "json" else _of_tabs
        for number, line in enumerate(_lines(file.paths[0]), start=1):
            yield number, of_line(line) if isinstance(line, str) else line
    except OSError as error:
        raise OpenbookError(
            f"{file.name}: cannot be read ({error.strerror}); check its name and permissions"
        ) from error


def _aligned(first: Path, second: Path) -> Iterator[tuple[int, Pair | Fault]]:
    sources = targets = 0
    for source, target in zip_longest(_lines(first), _lines(second)):
        sources += source is not None
        targets += target is not None
        if source is None or target is None:
            continue  # counted to the end, so that the message can say both numbers
        if isinstance(source, Fault) or isinstance(target, Fault):
            yield sources, source if isinstance(source, Fault) else target  # type: ignore[misc]
        else:
            yield sources, Pair(source, target)
    if sources != targets:
        raise OpenbookError(
            f"{shown(first)}: has {sources:,} lines and {shown(second)} has {targets:,}; line by line they must belong "
            "together, so mend the file that lacks some"
        )


def _of_tabs(line: str) -> Pair | Fault:
    """The first two columns; what follows them, such as who wrote the sentence, is not looked at."""
    source, tab, rest = line.partition("\t")
    return Pair(source, rest.partition("\t")[0]) if tab or not line.strip() else Fault.NO_PAIR


def _of_json(line: str) -> Pair | Fault:
    if not line.strip():
        return Pair("", "")
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return Fault.UNREADABLE
    if isinstance(content, dict) and isinstance(content.get("translation"), dict):
        content = content["translation"]
    texts = _two_texts(content)
    if texts is None:
        return Fault.NO_PAIR
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return Fault.UNREADABLE
    return Pair(*texts)


def _two_texts(content: Any) -> tuple[str, str] | None:
    if isinstance(content, dict):
        named = [names for names in NAMES if set(names) <= content.keys()]
        content = [content[name] for name in named[0]] if named else [v for v in content.values() if isinstance(v, str)]
    if isinstance(content, list) and len(content) == 2 and all(isinstance(each, str) for each in content):
        return content[0], content[1]
    return None


def _has_tab(path: Path) -> bool:
    try:
        return "\t" in next((line for line in _lines(path) if isinstance(line, str) and line.strip()), "")
    except OSError as error:
        raise OpenbookError(
            f"{shown(path)}: cannot be read ({error.strerror}); check its name and permissions"
        ) from error


def _lines(path: Path) -> Iterator[str | Fault]:
    """Each line without its end, or what is wrong with it.

    A line is UTF-8 if it can be, else of the encoding that fits the file: lines from elsewhere do no harm to others.
    """
    encoding = detect_encoding(path)
    if encoding in ("utf-16", "utf-32"):
        with path.open(encoding=encoding, errors="replace", newline="\n") as text:
            while line := text.readline(LONGEST_LINE):
                if len(line) < LONGEST_LINE:
                    yield Fault.UNREADABLE if "\ufffd" in line else line.rstrip("\r\n")
                    continue
                while line and not line.endswith("\n"):
                    line = text.readline(LONGEST_LINE)
                yield Fault.TOO_LONG
        return
    with path.open("rb") as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        while block := file.readline(LONGEST_LINE):
            if b"\0" in block:
                raise binary(path)
            if len(block) < LONGEST_LINE:
                yield _decoded(block.rstrip(b"\r\n"), encoding)
                continue
            while block and not block.endswith(b"\n"):
                block = file.readline(LONGEST_LINE)
            yield Fault.TOO_LONG


def _decoded(line: bytes, encoding: str) -> str | Fault:
    for codec in ("utf-8", encoding):
        try:
            return line.decode(codec)
        except UnicodeDecodeError:
            continue
    return Fault.UNREADABLE
