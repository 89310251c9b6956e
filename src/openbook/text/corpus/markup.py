"""HTML and Markdown → plain paragraphs. Headings get a NUL in front (see `readers.Reading`)."""

import codecs
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

from openbook.errors import OpenbookError
from openbook.text.corpus.books import shown
from openbook.text.corpus.encodings import decode, detect_encoding

if TYPE_CHECKING:
    from markdown_it.token import Token

LARGEST_HTML = 64 << 20
"""Bytes; HTML is parsed as it comes, but all of it could be one paragraph."""
LARGEST_MARKDOWN = 8 << 20
"""Bytes; Markdown is parsed as a whole, which takes about 80 times its size in memory."""

SKIPPED = frozenset(
    ["iframe", "math", "nav", "noscript", "object", "script", "select", "style", "svg", "template", "textarea", "title"]
)
HEADINGS = frozenset(["h1", "h2", "h3"])
GROUPS = frozenset(["article", "aside", "body", "center", "footer", "form", "header", "html", "main", "section"])
LISTS = frozenset(["dd", "details", "dl", "dt", "li", "ol", "summary", "ul"])
TABLES = frozenset(["caption", "figcaption", "figure", "table", "tbody", "tfoot", "thead"])
TEXTS = frozenset(["address", "blockquote", "div", "fieldset", "h4", "h5", "h6", "hr", "p", "pre"])
BLOCKS = HEADINGS | GROUPS | LISTS | TABLES | TEXTS
LINES = frozenset(["br", "tr"])
CELLS = frozenset(["td", "th"])

SPACES = re.compile(r"[ \t\n\f\r]+")
DECLARED = re.compile(rb"""(?:<meta[^>]{0,200}?charset|<\?xml[^>]{0,100}?encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.I)
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def read_html(path: Path) -> tuple[str, Iterator[str]]:
    """(encoding, paragraphs) of an HTML file."""
    _refuse_giants(path, LARGEST_HTML)
    with path.open("rb") as file:
        declared = declared_encoding(file.read(4096))
    encoding = detect_encoding(path, declared)
    return encoding, html_paragraphs(decode(path, encoding))


def declared_encoding(head: bytes) -> str | None:
    """The encoding that the first bytes of an HTML file claim, if Python knows it as one for text."""
    claim = DECLARED.search(head)
    if claim is None:
        return None
    try:
        name = claim[1].decode("ascii", "replace")
        " ".encode(name)  # refuses codecs that are not for text
        return codecs.lookup(name).name
    except (LookupError, UnicodeError):
        return None


def html_paragraphs(pieces: Iterable[str]) -> Iterator[str]:
    """The paragraphs of HTML text, each followed by a blank line."""
    parser = _Paragraphs()
    for piece in pieces:
        parser.feed(piece)
        yield from parser.take()
    parser.finish()
    yield from parser.take()


class _Paragraphs(HTMLParser):
    """Collects text between block elements. Works on events, not on a tree, so depth of nesting costs nothing."""

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
        """`<![odd[` is a comment to browsers; the parser's own way is to give up."""
        return self.parse_bogus_comment(i)


def read_markdown(path: Path) -> tuple[str, Iterator[str]]:
    """(encoding, paragraphs) of a Markdown file."""
    _refuse_giants(path, LARGEST_MARKDOWN)
    encoding = detect_encoding(path)
    return encoding, markdown_paragraphs("".join(decode(path, encoding)))


def markdown_paragraphs(text: str) -> Iterator[str]:
    """The blocks of Markdown text without their markup, each followed by a blank line."""
    from markdown_it import MarkdownIt

    mark = ""
    for token in MarkdownIt("commonmark").parse(FRONT_MATTER.sub("", text)):
        if token.type == "heading_open":
            mark = "\0"
        elif token.type == "inline":
            if words := _inline_text(token.children or []).strip("\n"):
                yield f"{mark}{words}\n\n"
            mark = ""
        elif token.type in ("fence", "code_block"):
            yield token.content.rstrip("\n") + "\n\n"
        elif token.type == "html_block":
            yield from html_paragraphs([token.content])


def _inline_text(tokens: "Iterable[Token]") -> str:
    parts = []
    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif token.type != "html_inline":
            parts.append(token.content)  # for an image this is its description
    return "".join(parts)


def _refuse_giants(path: Path, largest: int) -> None:
    if path.stat().st_size > largest:
        raise OpenbookError(f"{shown(path)}: over {largest >> 20} MB of markup; split it, or save it as txt")
