"""Removes the licences and credits that Project Gutenberg wraps around its books."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

MAXIMUM_HEADER = 1 << 16
"""Characters; that much text is buffered in search of the header before any is yielded."""

TITLE = r"(?:[^*]{0,300}\*{3}|[^\n]*)[^\n]*\n?"  # may span two lines, up to its closing asterisks
START = rf"^[\0 ]*\*{{3}} ?START OF TH(?:E|IS) PROJECT GUTENBERG{TITLE}"
SMALL_PRINT = r"^ *\*END ?\*? ?THE SMALL PRINT![^\n]*\n?"
END = (
    rf"^[\0 ]*(?:\*{{3}} ?END OF TH(?:E|IS) PROJECT GUTENBERG{TITLE}"
    r"|(?:The )?End of (?:the |this )?Project Gutenberg(?:['’]s| E-?(?:book|text))[^\n]*)"
)
MARKER = re.compile(f"(?P<start>{START})|(?P<end>{END})", re.MULTILINE | re.IGNORECASE)
HEADER_END = re.compile(f"{START}|{SMALL_PRINT}", re.MULTILINE | re.IGNORECASE)
CREDITS = re.compile(
    r"\s*(?:Produced by|E-?text prepared by|This e-?text was (?:prepared|produced) by)[^\n]*\n(?:[^\n]+\n)*",
    re.IGNORECASE,
)


class GutenbergStripper:
    """Leaves out Project Gutenberg's header, credits and footers; other books pass through unchanged.

    A file may hold several such books, and may be read in pieces, each with a stripper of its own.

    Attributes:
        inside: whether the text that was read last belongs to a book.
    """

    def __init__(self, inside: bool = True) -> None:
        """`inside`: whether the text begins within a book."""
        self.inside = inside

    def strip(self, chunks: Iterable[str], beginning: bool = True) -> Iterator[str]:
        """The chunks, which end at line ends, without what belongs to no book.

        Args:
            chunks: of text.
            beginning: whether they begin a file, where the header is.
        """
        stream = iter(chunks)
        for chunk in chain([_without_header(_head(stream))] if beginning else [], stream):
            if "gutenberg" not in chunk.lower():  # much faster than searching for markers
                if self.inside:
                    yield chunk
                continue
            position = 0
            for marker in MARKER.finditer(chunk):
                if self.inside:
                    yield chunk[position : marker.start()]
                self.inside = marker["start"] is not None
                position = marker.end()
            if self.inside and position < len(chunk):
                yield chunk[position:]


def strip_gutenberg(chunks: Iterable[str]) -> Iterator[str]:
    """A file without the text of Project Gutenberg; see `GutenbergStripper.strip`."""
    return GutenbergStripper().strip(chunks)


def _head(stream: Iterator[str]) -> str:
    head = ""
    for chunk in stream:
        head += chunk
        if len(head) >= MAXIMUM_HEADER:
            break
    return head


def _without_header(head: str) -> str:
    if "gutenberg" not in head.lower():
        return head
    start = 0
    # In old files the small print follows the start line, so the last such line before a footer counts.
    footer = re.search(END, head, re.MULTILINE | re.IGNORECASE)
    for line in HEADER_END.finditer(head, 0, footer.start() if footer else len(head)):
        start = line.end()
    if start and (credits := CREDITS.match(head, start)):
        start = credits.end()
    return head[start:].lstrip("\n") if start else head
