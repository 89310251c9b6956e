"""Sentence pairs in lines with tabs, in JSON lines, and in JSON arrays; what is beside the pairs is told apart."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple, TextIO

from openbook.errors import OpenbookError
from openbook.text.corpus.readers.lines import LONGEST_LINE, InvalidLine

Line = str | InvalidLine

SAMPLE = 1000
"""Lines from which the layout of a table is told."""

SIDE_NAMES = (("source", "target"), ("src", "tgt"))
"""Names of the two sides, of columns or of keys."""
LANGUAGE_CODE = re.compile(r"[a-z]{2,3}(?:[-_][A-Za-z]{2,4})?")
"""Other names of the sides: two languages, such as en and pt_BR."""
BESIDE = frozenset(
    (
        *("id", "uid", "guid", "lang", "language", "langs", "direction", "url", "uri", "domain", "corpus", "dataset"),
        *("origin", "provenance", "split", "subset", "type", "kind", "category", "topic", "label", "tag", "license"),
        *("licence", "author", "user", "date", "time", "doc", "document", "file", "name"),
    )
)
"""Names of what is beside a pair."""
NUMBER_OR_NAME = re.compile(
    r"[-+]?[0-9][0-9.,]*(?:[eE][-+]?[0-9]+)?|[A-Za-z_.:#/0-9-]*[0-9][A-Za-z_.:#/0-9-]*|https?://\S+"
)
"""A number, a line's name such as s12 or news-3:7, or an address."""
QUOTED = re.compile(r'"(?:[^"]|"")*"')


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


@dataclass(frozen=True)
class TableLayout:
    """How the lines of a tab-separated file are read.

    Attributes:
        columns: of the source and the target, from 0.
        header: whether the first line names the columns.
        quoted: whether cells are quoted as spreadsheets do, with doubled quotes inside.
        beside: columns of numbers, names of lines or the name of a language, which are left out.
    """

    columns: tuple[int, int] = (0, 1)
    header: bool = False
    quoted: bool = False
    beside: tuple[int, ...] = ()

    @classmethod
    def of(cls, lines: Sequence[str]) -> "TableLayout":
        """The layout of a file that begins with these lines."""
        rows = [line.split("\t") for line in lines if line.strip()]
        quotes = [cell for row in rows for cell in row if '"' in cell]
        quoted = any('""' in cell[1:-1] for cell in quotes) and all(QUOTED.fullmatch(cell.strip()) for cell in quotes)
        names = [_known(cell.strip(' "')) for cell in rows[0]] if rows else []
        sides = _sides(names)
        if sides is not None and not set(sides) <= {cell.strip() for row in rows[1:2] for cell in row}:
            return cls((names.index(sides[0]), names.index(sides[1])), header=True, quoted=quoted)
        columns = range(max(map(len, rows), default=0))
        beside = [each for each in columns if _is_beside([row[each].strip() for row in rows if len(row) > each])]
        texts = [column for column in columns if column not in beside]
        if len(texts) < 2 or texts[:2] == [0, 1]:
            return cls(quoted=quoted)
        return cls((texts[0], texts[1]), quoted=quoted, beside=tuple(each for each in beside if each < texts[1]))

    def parse(self, line: str) -> Pair | InvalidLine:
        """The pair of a line; further columns, such as the author, are ignored."""
        cells = line.split("\t")
        if not line.strip():
            return Pair("", "")
        if len(cells) <= max(self.columns):
            return InvalidLine.NO_PAIR
        return Pair(*(self._unquoted(cells[column]) for column in self.columns))

    def notes(self) -> list[str]:
        """What was found, for people."""
        first, second = (column + 1 for column in self.columns)
        found = [f"the first line names the columns; {first} and {second} are read"] if self.header else []
        if self.beside:
            found.append(f"columns {first} and {second} are read, since others hold numbers or names")
        return found + ["the quotes of a spreadsheet are undone"] * self.quoted

    def _unquoted(self, cell: str) -> str:
        cell = cell.strip() if self.quoted else cell
        return cell[1:-1].replace('""', '"') if self.quoted and QUOTED.fullmatch(cell) else cell


def read_table(lines: Iterator[Line]) -> tuple[TableLayout, Iterator[tuple[int, Pair | InvalidLine]]]:
    """The layout of a tab-separated file, and each line's number, from 1, with its pair or why it has none."""
    first = list(islice(lines, SAMPLE))
    layout = TableLayout.of([line for line in first if isinstance(line, str)])
    heading = next((number for number, line in enumerate(first, 1) if isinstance(line, str) and line.strip()), 0)

    def pairs() -> Iterator[tuple[int, Pair | InvalidLine]]:
        for number, line in enumerate(chain(first, lines), start=1):
            if layout.header and number == heading:
                continue
            yield number, layout.parse(line) if isinstance(line, str) else line

    return layout, pairs()


def parse_json_line(line: str) -> Pair | InvalidLine:
    """The pair of a line of JSON."""
    if not line.strip():
        return Pair("", "")
    try:
        return pair_of(json.loads(line))
    except (ValueError, RecursionError):
        return InvalidLine.UNREADABLE


def pair_of(content: Any) -> Pair | InvalidLine:
    """The pair in a JSON value: a list of two texts, or an object with two sides."""
    if isinstance(content, dict) and isinstance(content.get("translation"), dict):
        content = content["translation"]
    if isinstance(content, dict):
        texts = {name: value for name, value in content.items() if isinstance(value, str)}
        sides = _sides(list(content)) or tuple(name for name in texts if name.lower() not in BESIDE)
        content = [content[name] for name in sides]
    if not isinstance(content, list) or len(content) != 2 or not all(isinstance(each, str) for each in content):
        return InvalidLine.NO_PAIR
    try:
        "".join(content).encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return InvalidLine.UNREADABLE
    return Pair(*content)


def _is_beside(cells: Sequence[str]) -> bool:
    """Whether a column is all numbers or names, or says the same language in every line."""
    if len(cells) > 2 and len(set(cells)) == 1 and LANGUAGE_CODE.fullmatch(cells[0]):
        return True
    return all(map(NUMBER_OR_NAME.fullmatch, cells))


def _known(name: str) -> str:
    """A column's name; source and target in any case."""
    return name.lower() if any(name.lower() in names for names in SIDE_NAMES) else name


def _sides(names: Sequence[str]) -> tuple[str, str] | None:
    """The names of source and target among these, in their order; None if they are not told."""
    for source, target in SIDE_NAMES:
        if source in names and target in names:
            return source, target
    codes = [name for name in names if LANGUAGE_CODE.fullmatch(name) and name not in BESIDE | {"text"}]
    return (codes[0], codes[1]) if len(codes) == 2 and codes[0] != codes[1] else None


def begins_json_array(line: str) -> bool:
    """Whether the file that begins with this line, or its first characters, is one array, not a value on each line."""
    if not line.lstrip("\ufeff \t\r\n").startswith("["):
        return False
    try:
        value = json.loads(line)
    except RecursionError:
        return False
    except ValueError:
        return True
    return bool(value) and all(isinstance(each, dict | list) for each in value)


def read_json_array(name: str, text: TextIO) -> Iterator[Pair | InvalidLine]:
    """The pair of each item of a JSON array, without holding all of it in memory.

    Raises:
        OpenbookError: an item is damaged; names its number.
    """
    decoder = json.JSONDecoder()
    buffer, place, number = text.read(LONGEST_LINE).lstrip("\ufeff \t\r\n"), 1, 1
    while True:
        while place < len(buffer) and buffer[place] in " \t\r\n,":
            place += 1
        if buffer.startswith("]", place):
            return
        try:
            value, place = decoder.raw_decode(buffer, place)
        except (ValueError, RecursionError):
            more = text.read(LONGEST_LINE) if len(buffer) - place < LONGEST_LINE else ""
            if not more:
                raise OpenbookError(
                    f"{name}: item {number:,} of the array is not JSON; mend it, or write an object on each line"
                ) from None
            buffer, place = buffer[place:] + more, 0
            continue
        yield pair_of(value)
        number += 1
