"""FictionBook, DOCX and ODT → plain paragraphs. All three are XML; the latter two are in a ZIP archive."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from openbook.errors import OpenbookError
from openbook.text.corpus.readers.limits import Archive, parse_xml
from openbook.text.printable import printable_path

MAXIMUM_BYTES = 64 << 20
"""The document is parsed as a whole."""

HIDING = frozenset(["r", "pPr"])
"""Elements of DOCX whose text, or paragraph mark, `vanish` hides."""

OfficeFormat = Literal["fb2", "docx", "odt"]


class Dialect(NamedTuple):
    """What the elements of a format mean.

    Attributes:
        member: of the archive; None: the file itself is XML.
        paragraphs: elements that hold a paragraph.
        headings: elements that make the paragraphs in them headings.
        text: elements with characters of the text; None: all.
        signs: elements that stand for characters.
        skipped: elements whose content is not the text.
    """

    member: str | None
    paragraphs: frozenset[str]
    headings: frozenset[str]
    text: frozenset[str] | None
    signs: dict[str, str]
    skipped: frozenset[str]


DIALECTS: dict[OfficeFormat, Dialect] = {
    "fb2": Dialect(
        None,
        frozenset(["p", "v", "subtitle", "text-author", "td", "th", "date"]),
        frozenset(["title"]),
        None,
        {"empty-line": "\n"},
        frozenset(["description", "binary", "stylesheet", "notes"]),
    ),
    "docx": Dialect(
        "word/document.xml",
        frozenset(["p"]),
        frozenset(),
        frozenset(["t"]),
        {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"},
        frozenset(["del", "moveFrom", "instrText", "tabs", "Fallback", "rt"]),
    ),
    "odt": Dialect(
        "content.xml",
        frozenset(["p", "h"]),
        frozenset(["h"]),
        None,
        {"tab": "\t", "line-break": "\n", "s": " "},
        frozenset(["note", "annotation", "tracked-changes", "desc", "page-number", "ruby-text"]),
    ),
}


def read_office(path: Path, kind: OfficeFormat) -> Iterator[str]:
    """The paragraphs of a file, each followed by a blank line; headings begin with NUL."""
    name = printable_path(path)
    dialect = DIALECTS[kind]
    if dialect.member is None:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise OpenbookError(f"{name}: over {MAXIMUM_BYTES >> 20} MB of markup; split it, or save it as txt")
        content = path.read_bytes()
    else:
        with Archive(path) as archive:
            content = archive.read(dialect.member)
        if len(content) > MAXIMUM_BYTES:
            raise OpenbookError(f"{name}: over {MAXIMUM_BYTES >> 20} MB of markup; split it, or save it as txt")
    collector = _Collector(dialect)
    parse_xml(name, content, collector.start, collector.end, collector.text)
    yield from collector.ready


class _Collector:
    """Collects paragraphs from the events of the parser."""

    def __init__(self, dialect: Dialect) -> None:
        self.ready: list[str] = []
        self._dialect = dialect
        self._parts: list[str] = []
        self._paragraphs = self._headings = self._texts = self._skipping = 0
        self._mark = ""
        self._hidden = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        dialect = self._dialect
        if self._skipping or tag in dialect.skipped or _is_note(tag, attributes):
            self._skipping += 1
        elif tag in dialect.paragraphs:
            self._finish()
            self._paragraphs += 1
            self._mark = "\0" if self._headings or tag in dialect.headings else ""
        elif tag in dialect.headings:
            self._headings += 1
        elif tag in dialect.signs:
            self._parts.append(dialect.signs[tag])
        elif tag == "pStyle" and attributes.get("val", "").lower().startswith(("heading", "title")):
            self._mark = "\0"
        elif tag == "vanish" and attributes.get("val") not in ("0", "false"):
            self._hidden = True
        elif dialect.text and tag in dialect.text:
            self._texts += 1

    def end(self, tag: str) -> None:
        dialect = self._dialect
        if self._skipping:
            self._skipping -= 1
        elif tag in dialect.paragraphs:
            self._finish()
            self._paragraphs -= 1
        elif tag in dialect.headings:
            self._headings -= 1
        elif dialect.text and tag in dialect.text:
            self._texts -= 1
        elif tag in HIDING:
            self._hidden = False

    def text(self, characters: str) -> None:
        if self._hidden:
            return
        if self._paragraphs and not self._skipping and (self._dialect.text is None or self._texts):
            self._parts.append(characters if self._dialect.text else " ".join(characters.split("\n")))

    def _finish(self) -> None:
        text = "".join(self._parts).replace("\0", "").strip()
        if text:
            self.ready.append(f"{self._mark}{text}\n\n")
        self._parts, self._mark = [], ""


def _is_note(tag: str, attributes: dict[str, str]) -> bool:
    """The notes of a FictionBook and the marks that point to them."""
    return (tag == "body" and "note" in attributes.get("name", "")) or (tag == "a" and attributes.get("type") == "note")
