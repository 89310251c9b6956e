"""Project Gutenberg wraps its books in licences and credits, which no model should learn to recite."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

HEADER = 1 << 16
"""Characters within which a header ends; text is held back that far before any is let through."""

TITLE = r"(?:[^*]{0,300}\*{3}|[^\n]*)[^\n]*\n?"  # may run over two lines, up to its closing stars
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


def strip_gutenberg(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces of a book without Project Gutenberg's header, credits and footer; other books come through unchanged.

    Pieces end at line borders. Several such books in one file work too.
    """
    stream = iter(pieces)
    head = ""
    for piece in stream:
        head += piece
        if len(head) >= HEADER:
            break
    inside = True
    for piece in chain([_without_header(head)], stream):
        if "gutenberg" not in piece.lower():  # much faster than the search for markers
            if inside:
                yield piece
            continue
        position = 0
        for marker in MARKER.finditer(piece):
            if inside:
                yield piece[position : marker.start()]
            inside = marker["start"] is not None
            position = marker.end()
        if inside and position < len(piece):
            yield piece[position:]


def _without_header(head: str) -> str:
    if "gutenberg" not in head.lower():
        return head
    start = 0
    # The old small print follows the start line, so the last such line before any footer counts.
    footer = re.search(END, head, re.MULTILINE | re.IGNORECASE)
    for line in HEADER_END.finditer(head, 0, footer.start() if footer else len(head)):
        start = line.end()
    if start and (credits := CREDITS.match(head, start)):
        start = credits.end()
    return head[start:].lstrip("\n") if start else head
