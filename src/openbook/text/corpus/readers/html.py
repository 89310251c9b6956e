"""HTML → plain paragraphs."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.text.corpus.readers.encodings import Encoding, decode_file, detect_encoding
from openbook.text.corpus.readers.labels import codec_of
from openbook.text.printable import printable_path

MAXIMUM_BYTES = 64 << 20
"""HTML is parsed in chunks, but a single paragraph may be as long as the file."""
MAXIMUM_NESTING = 256
"""Of elements to skip."""

CODE = frozenset(["math", "script", "style", "svg", "template", "title"])
INSTEAD = frozenset(["audio", "canvas", "iframe", "noembed", "noframes", "noscript", "object", "video"])
"""Elements whose content browsers show in their place, if they cannot show them."""
SKIPPED = CODE | INSTEAD | frozenset(["datalist", "nav", "rp", "rt", "rtc", "select", "textarea"])
"""Elements whose content is not the text. If nobody closes one that is not code, its content is the text after all."""
READINGS = frozenset(["rp", "rt", "rtc"])
BASES = frozenset(["rb", "ruby"])
HEADINGS = frozenset(["h1", "h2", "h3"])
SECTIONS = frozenset(["article", "aside", "body", "center", "footer", "form", "header", "html", "main", "section"])
LISTS = frozenset(["dd", "details", "dl", "dt", "li", "ol", "summary", "ul"])
TABLES = frozenset(["caption", "figcaption", "figure", "table", "tbody", "tfoot", "thead"])
PARAGRAPHS = frozenset(["address", "blockquote", "div", "fieldset", "h4", "h5", "h6", "hr", "p", "pre"])
BLOCKS = HEADINGS | SECTIONS | LISTS | TABLES | PARAGRAPHS
LINES = frozenset(["br", "tr"])
CELLS = frozenset(["td", "th"])
EMPTY = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)
"""Elements without content, which nobody closes."""
OPTIONAL_END = frozenset(["dd", "dt", "li", "p", "td", "th", "tr"])
"""Elements that the next block closes."""

BESIDE_CLASSES = frozenset(
    ["fnanchor", "fnref", "footnote-anchor", "footnote-backref", "footnote-ref", "footnoteref", "noteref"]
) | frozenset(["page-break", "page-no", "page-number", "pagebreak", "pageno", "pagenum", "pagenumber"])
HIDDEN_CLASSES = frozenset(["anchor-link", "headerlink", "screen-reader-text", "sr-only", "visually-hidden"])
"""Classes of what common style sheets show only to those who point at it, or read it aloud."""
BESIDE_TYPES = frozenset(["pagebreak", "noteref", "doc-pagebreak", "doc-noteref", "doc-backlink"])
"""Classes (but for `HIDDEN_CLASSES`), and EPUB types or roles, of page numbers and of marks that point to notes."""
NOTE_MARK = re.compile(r"\s*[\[({]?\s*(?:\d{1,4}|[a-z]|[ivxlc]{1,5}|[*†‡§¶]{1,3})\s*[\])}]?\s*", re.IGNORECASE)

SPACES = re.compile(r"[ \t\n\f\r]+")
BLANKS = re.compile(r" {2,}")
HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
LONG_REFERENCE = re.compile(r"&#(?:0*[1-9][0-9]{8,}|0{20,}[0-9]*|[xX]0*[1-9a-fA-F][0-9a-fA-F]{7,});?")
"""No character has so long a number, and Python refuses to read one of thousands of digits."""
LONE_BRACKET = re.compile(r"<(?=[^a-zA-Z/!?])")
DECLARED_ENCODING = re.compile(
    rb"""(?:<meta[^>]{0,200}?charset|<\?xml[^>]{0,100}?encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)


def read_html(path: Path, encoding: str | None = None) -> tuple[Encoding, Iterator[str]]:
    """(encoding, paragraphs) of an HTML file; `encoding` given is taken as it is."""
    refuse_large_markup(path, MAXIMUM_BYTES)
    with path.open("rb") as file:
        declared = declared_encoding(file.read(4096))
    detected = detect_encoding(path, declared, given=encoding)
    return detected, html_paragraphs(decode_file(path, detected.name))


def refuse_large_markup(path: Path, limit: int) -> None:
    """Raise OpenbookError where a file is too large to parse."""
    if path.stat().st_size > limit:
        raise OpenbookError(f"{printable_path(path)}: over {limit >> 20} MB of markup; split it, or save it as txt")


def declared_encoding(head: bytes) -> str | None:
    """The encoding that the first bytes of an HTML file declare, as browsers understand it; None: none."""
    declaration = DECLARED_ENCODING.search(head)
    return codec_of(declaration[1].decode("ascii", "replace")) if declaration else None


def html_paragraphs(chunks: Iterable[str]) -> Iterator[str]:
    """The paragraphs of HTML text, each followed by a blank line; headings begin with NUL."""
    parser = _ParagraphParser()
    held: list[str] = []
    for chunk in chunks:
        held.append(LONE_BRACKET.sub("&lt;", LONG_REFERENCE.sub("\ufffd", chunk)))
        if parser.rawdata.startswith("<") and ">" not in chunk:  # it would read the unfinished tag from its start again
            continue
        parser.feed("".join(held))
        held.clear()
        yield from parser.take()
    if not parser.rawdata.startswith("<"):
        parser.feed("".join(held))
    parser.finish()
    yield from parser.take()


@dataclass
class _Skipped:
    """An element to skip, and what was collected before it.

    Attributes:
        tag: its name.
        ready: how many paragraphs were ready.
        parts: of the paragraph that it interrupts.
        mark: of that paragraph.
        preformatted: how many pre elements were open.
        open: how many elements of its name are open since it began.
    """

    tag: str
    ready: int
    parts: list[str]
    mark: str
    preformatted: int
    open: int = 1


class _ParagraphParser(HTMLParser):
    """Collects the text between block elements. It works on events, not on a tree, so deep nesting costs nothing.

    What an element to skip holds is collected too: it is dropped at its end, and kept if the end never comes.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._ready: list[str] = []
        self._parts: list[str] = []
        self._mark = ""
        self._preformatted = 0
        self._skipped: list[_Skipped] = []
        self._raised: list[tuple[str, int]] = []
        """Open a and sup elements ("a#" is a link to a place), each with the number of parts before it."""

    def take(self) -> list[str]:
        """The paragraphs that are finished."""
        if self._skipped:
            return []
        ready, self._ready = self._ready, []
        return ready

    def finish(self) -> None:
        if not self.rawdata.startswith("<"):  # an unfinished tag is no text, and closing on many takes quadratic time
            self.close()
        while self._skipped:
            if self._skipped[-1].tag in CODE:
                self._end_skipped()
                continue
            self.end_paragraph()
            unclosed = self._skipped.pop()
            if before := "".join(unclosed.parts).strip():
                self._ready.insert(unclosed.ready, f"{unclosed.mark}{before}\n\n")
        self.end_paragraph()

    def end_paragraph(self) -> None:
        text = "".join(self._parts)
        if not self._preformatted:
            text = "\n".join(BLANKS.sub(" ", line).strip(" ") for line in text.split("\n"))
        text = text.strip("\n")
        if text.strip():
            self._ready.append(f"{self._mark}{text}\n\n")
        self._parts, self._mark, self._raised = [], "", []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if self._skipped and _closes(tag, self._skipped[-1].tag):
            self._end_skipped()
        if tag not in EMPTY and (tag in SKIPPED or _beside_the_text(tag, dict(attributes))):
            if len(self._skipped) < MAXIMUM_NESTING:
                self._skipped.append(_Skipped(tag, len(self._ready), self._parts, self._mark, self._preformatted))
                self._parts, self._mark, self._raised, self._preformatted = [], "", [], 0
            return
        if self._skipped and tag == self._skipped[-1].tag:
            self._skipped[-1].open += 1
        if tag in BLOCKS:
            self.end_paragraph()
            self._mark = "\0" if tag in HEADINGS else ""
            self._preformatted += tag == "pre"
        elif tag in LINES:
            self._parts.append("\n")
        elif tag in CELLS:
            self._parts.append(" ")
        elif tag in ("a", "sup"):
            link = tag == "a" and "#" in (dict(attributes).get("href") or "")
            self._raised.append(("a#" if link else tag, len(self._parts)))

    def handle_endtag(self, tag: str) -> None:
        if self._skipped:
            last = self._skipped[-1]
            if tag == last.tag:
                last.open -= 1
                if not last.open:
                    self._end_skipped()
                    return
            elif tag == "ruby" and last.tag in READINGS:
                self._end_skipped()
            elif tag in SKIPPED and any(each.tag == tag for each in self._skipped):
                while self._skipped[-1].tag != tag:
                    self._end_skipped()
                self._end_skipped()
                return
        if tag in BLOCKS:
            self.end_paragraph()
            self._preformatted = max(0, self._preformatted - (tag == "pre"))
        elif tag in ("a", "sup"):
            self._end_raised(tag)

    def handle_data(self, data: str) -> None:
        self._parts.append(data if self._preformatted else SPACES.sub(" ", data))

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """Treat `<![odd[` as a comment, as browsers do; the base class gives up on it."""
        return self.parse_bogus_comment(i)

    def _end_skipped(self) -> None:
        ended = self._skipped.pop()
        del self._ready[ended.ready :]
        self._parts, self._mark, self._preformatted = ended.parts, ended.mark, ended.preformatted
        self._raised = []

    def _end_raised(self, tag: str) -> None:
        """Drop what an a or sup element held if it is the mark of a note: <a href="#n1"><sup>1</sup></a>."""
        names = [name for name, _ in self._raised[-2:]]
        if not names or names[-1].rstrip("#") != tag:
            return
        _, start = self._raised.pop()
        if sorted(names) == ["a#", "sup"] and NOTE_MARK.fullmatch("".join(self._parts[start:])):
            del self._parts[start:]


def _closes(tag: str, skipped: str) -> bool:
    """Whether the start of an element ends the element that is being skipped."""
    if skipped in READINGS:
        return tag in READINGS or tag in BASES or tag in BLOCKS
    return skipped in OPTIONAL_END and (tag in BLOCKS or tag in CELLS or tag == "tr")


def _beside_the_text(tag: str, attributes: dict[str, str | None]) -> bool:
    """Whether an element is hidden, a page number or the mark of a note."""
    if "hidden" in attributes or (tag == "dialog" and "open" not in attributes):
        return True
    if HIDDEN_STYLE.search(attributes.get("style") or ""):
        return True
    kinds = f"{attributes.get('epub:type') or ''} {attributes.get('role') or ''}".lower().split()
    classes = (attributes.get("class") or "").lower().split()
    return not (BESIDE_TYPES.isdisjoint(kinds) and (BESIDE_CLASSES | HIDDEN_CLASSES).isdisjoint(classes))
