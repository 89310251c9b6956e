"""HTML → plain paragraphs."""

import codecs
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.text.corpus.readers.encodings import decode_file, detect_encoding
from openbook.text.printable import printable_path

MAXIMUM_BYTES = 64 << 20
"""HTML is parsed in chunks, but a single paragraph may be as long as the file."""

SKIPPED = frozenset(
    ["iframe", "math", "nav", "noscript", "object", "script", "select", "style", "svg", "template", "textarea", "title"]
)
HEADINGS = frozenset(["h1", "h2", "h3"])
SECTIONS = frozenset(["article", "aside", "body", "center", "footer", "form", "header", "html", "main", "section"])
LISTS = frozenset(["dd", "details", "dl", "dt", "li", "ol", "summary", "ul"])
TABLES = frozenset(["caption", "figcaption", "figure", "table", "tbody", "tfoot", "thead"])
PARAGRAPHS = frozenset(["address", "blockquote", "div", "fieldset", "h4", "h5", "h6", "hr", "p", "pre"])
BLOCKS = HEADINGS | SECTIONS | LISTS | TABLES | PARAGRAPHS
LINES = frozenset(["br", "tr"])
CELLS = frozenset(["td", "th"])

SPACES = re.compile(r"[ \t\n\f\r]+")
DECLARED_ENCODING = re.compile(
    rb"""(?:<meta[^>]{0,200}?charset|<\?xml[^>]{0,100}?encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)


def read_html(path: Path) -> tuple[str, Iterator[str]]:
    """(encoding, paragraphs) of an HTML file."""
    refuse_large_markup(path, MAXIMUM_BYTES)
    with path.open("rb") as file:
        declared = declared_encoding(file.read(4096))
    encoding = detect_encoding(path, declared)
    return encoding, html_paragraphs(decode_file(path, encoding))


def refuse_large_markup(path: Path, limit: int) -> None:
    """Raise OpenbookError where a file is too large to parse."""
    if path.stat().st_size > limit:
        raise OpenbookError(f"{printable_path(path)}: over {limit >> 20} MB of markup; split it, or save it as txt")


def declared_encoding(head: bytes) -> str | None:
    """The encoding that the first bytes of an HTML file declare, if Python has a text codec of that name."""
    declaration = DECLARED_ENCODING.search(head)
    if declaration is None:
        return None
    try:
        name = declaration[1].decode("ascii", "replace")
        " ".encode(name)  # refuses codecs that are not for text
        return codecs.lookup(name).name
    except (LookupError, UnicodeError):
        return None


def html_paragraphs(chunks: Iterable[str]) -> Iterator[str]:
    """The paragraphs of HTML text, each followed by a blank line; headings begin with NUL."""
    parser = _ParagraphParser()
    for chunk in chunks:
        parser.feed(chunk)
        yield from parser.take()
    parser.finish()
    yield from parser.take()


class _ParagraphParser(HTMLParser):
    """Collects the text between block elements. It works on events, not on a tree, so deep nesting costs nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._ready: list[str] = []
        self._parts: list[str] = []
        self._skipping = 0
        self._preformatted = 0
        self._mark = ""

    def take(self) -> list[str]:
        ready, self._ready = self._ready, []
        return ready

    def finish(self) -> None:
        if not self.rawdata.startswith("<"):  # an unfinished tag is no text, and closing on many takes quadratic time
            self.close()
        self.end_paragraph()

    def end_paragraph(self) -> None:
        lines = [line.strip(" ") for line in "".join(self._parts).split("\n")]
        text = "".join(self._parts).strip("\n") if self._preformatted else "\n".join(lines).strip("\n")
        if text.strip():
            self._ready.append(f"{self._mark}{text}\n\n")
        self._parts, self._mark = [], ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in SKIPPED:
            self._skipping += 1
        elif tag in BLOCKS:
            self.end_paragraph()
            self._mark = "\0" if tag in HEADINGS else ""
            self._preformatted += tag == "pre"
        elif tag in LINES:
            self._parts.append("\n")
        elif tag in CELLS:
            self._parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in SKIPPED:
            self._skipping = max(0, self._skipping - 1)
        elif tag in BLOCKS:
            self.end_paragraph()
            self._preformatted = max(0, self._preformatted - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self._parts.append(data if self._preformatted else SPACES.sub(" ", data))

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """Treat `<![odd[` as a comment, as browsers do; the base class gives up on it."""
        return self.parse_bogus_comment(i)
