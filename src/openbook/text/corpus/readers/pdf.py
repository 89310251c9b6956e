"""PDF → text in reading order, with the optional pdfminer.six: it finds the columns of a page.

Lines that only the printed page has are left out: page numbers, and heads and feet that come back on other pages.
"""

import logging
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from openbook.errors import OpenbookError
from openbook.text.corpus.cleaning.chapters import HEADING
from openbook.text.corpus.readers.limits import limit_time
from openbook.text.printable import printable_path

EDGE_LINES = 2
"""Lines at the top and the bottom of a page that may be heads and feet."""
PAGE_NUMBER = re.compile(
    r"[-–—\[(. ]*(?:page |p\. ?|seite )?(?:\d{1,4}|[ivxlc]{1,7})(?: (?:of|/) \d{1,4})?[-–—\]). ]*", re.I
)
NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
BROKEN_WORD = re.compile(r"(?<=[^\W\d_])[-\u00ad\u2010]\n{1,2}(?=[^\W\d_A-Z])")
PAGE_TURN = re.compile(r"(?<=[\w,;-])\f(?=[^\W\d_A-Z])")
"""Within a sentence."""
MAXIMUM_STREAM = 64 << 20
"""Bytes that one stream may unpack to."""
MAXIMUM_LETTERS = 200_000
"""On one page; each takes about a kilobyte while the page is laid out. A page of a newspaper has 30,000."""
MAXIMUM_PAGES = 20_000

Page = list[str]


def read_pdf(path: Path) -> Iterator[str]:
    """The text of each page, followed by a blank line; its blocks have blank lines between them.

    Raises:
        OpenbookError: the file is locked or has no text, or pdfminer.six is missing.
    """
    name = printable_path(path)
    try:
        from pdfminer.pdfdocument import PDFPasswordIncorrect
    except ImportError:
        raise OpenbookError(f"{name}: reading PDF needs pdfminer.six; run: pip install 'openbook[pdf]'") from None
    try:
        pages = list(_each_in_time(name, _pages(path, name)))
    except PDFPasswordIncorrect:
        raise OpenbookError(f"{name}: locked with a password; save a copy without one") from None
    if not any(pages):
        raise OpenbookError(f"{name}: no text, probably scanned pages; run OCR on it (ocrmypdf) first")
    repeated = _repeated_edges(pages)
    texts = ("\n".join(_without_edges(page, repeated)).strip("\n") for page in pages)
    text = PAGE_TURN.sub("\n", "\f".join(filter(None, texts))).replace("\f", "\n\n")
    yield BROKEN_WORD.sub("", text) + "\n\n"


def _each_in_time(name: str, pages: Iterator[Page]) -> Iterator[Page]:
    """The same pages; each may take as long as a small book."""
    for number in count(1):
        page = next(limit_time(f"{name}, page {number:,}", 0, pages), None)
        if page is None:
            return
        if number > MAXIMUM_PAGES:
            raise OpenbookError(f"{name}: over {MAXIMUM_PAGES:,} pages; split it, or leave it out")
        yield page


def _pages(path: Path, name: str) -> Iterator[Page]:
    """The lines of each page, with an empty line between blocks."""
    from pdfminer import pdftypes
    from pdfminer.converter import PDFPageAggregator
    from pdfminer.layout import LAParams, LTTextBox
    from pdfminer.pdfinterp import PDFPageInterpreter, PDFResourceManager
    from pdfminer.pdfpage import PDFPage

    class Aggregator(PDFPageAggregator):
        letters = 0

        def render_char(self, *arguments: Any, **named: Any) -> float:
            self.letters += 1
            if self.letters > MAXIMUM_LETTERS:
                raise OpenbookError(f"{name}: over {MAXIMUM_LETTERS:,} letters on one page; convert it to txt")
            return super().render_char(*arguments, **named)

    logging.getLogger("pdfminer").setLevel(logging.ERROR)  # its warnings about sloppy but readable files help nobody
    pdftypes.zlib = _BOUNDED_ZLIB  # type: ignore[attr-defined]
    manager = PDFResourceManager()
    device = Aggregator(manager, laparams=LAParams())
    interpreter = PDFPageInterpreter(manager, device)
    with path.open("rb") as file:
        for page in PDFPage.get_pages(file):
            device.letters = 0
            interpreter.process_page(page)
            lines: Page = []
            for box in device.get_result():
                if isinstance(box, LTTextBox) and (text := _clean(box.get_text())):
                    lines += [*text.split("\n"), ""]
            yield lines[:-1]


def _clean(text: str) -> str:
    # A lone surrogate, or a glyph without a character, comes from a broken font table and is not text.
    text = re.sub(r"\(cid:\d+\)", "", text.replace("\0", "")).encode("utf-8", "ignore").decode()
    return "\n".join(" ".join(line.split()) for line in text.split("\n")).strip("\n")


def _edges(page: Page) -> Iterator[int]:
    """The places of the lines at the top and the bottom."""
    places = [place for place, line in enumerate(page) if line]
    yield from dict.fromkeys([*places[:EDGE_LINES], *places[-EDGE_LINES:]])


def _shape(line: str) -> str:
    """A line without its numbers, so that the heads of all pages are alike; but Chapter 1 is not Chapter 2."""
    return line if HEADING.match(line) else NUMBER.sub("#", unicodedata.normalize("NFKC", line).casefold())


def _repeated_edges(pages: list[Page]) -> set[str]:
    """Shapes of lines at the edges of at least two pages, and of every tenth page or more."""
    seen = Counter(shape for page in pages for shape in {_shape(page[place]) for place in _edges(page)})
    return {shape for shape, count in seen.items() if count >= max(2, len(pages) // 10)}


def _without_edges(page: Page, repeated: set[str]) -> Iterator[str]:
    edges = set(_edges(page))
    for place, line in enumerate(page):
        if place not in edges or not (_shape(line) in repeated or PAGE_NUMBER.fullmatch(line)):
            yield line


def _unpack(data: bytes, *_: object) -> bytes:
    content = (unpacker := zlib.decompressobj()).decompress(data, MAXIMUM_STREAM)
    if unpacker.unconsumed_tail:
        raise ValueError(f"a stream in it unpacks to over {MAXIMUM_STREAM >> 20} MB")
    if not unpacker.eof:
        raise zlib.error("incomplete or truncated stream")
    return content


_BOUNDED_ZLIB: Any = SimpleNamespace(decompress=_unpack, decompressobj=zlib.decompressobj, error=zlib.error)
"""What pdfminer.six takes for zlib: a small file may not fill the memory."""
