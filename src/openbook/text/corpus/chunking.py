"""Cutting streams of text: at paragraph borders for people, and at borders that change no token."""

import re
from collections.abc import Iterable, Iterator

PIECE = 1 << 20
LONGEST_PARAGRAPH = 4 * PIECE
REACH = 1 << 14
"""Characters that are searched for a place to cut."""

BEFORE_WORD = re.compile(r"(?<=\S)(?= \S)")
AFTER_LINE = re.compile(r"(?<=\n)(?=[^\S\n]*\S)")


def whole_paragraphs(pieces: Iterable[str], size: int = PIECE) -> Iterator[str]:
    """The same text in pieces of at least `size` characters that end after a blank line.

    A paragraph over `LONGEST_PARAGRAPH` is cut at a line end, or anywhere.
    """
    held: list[str] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length < size:
            continue
        text = "".join(held)
        cut = text.rfind("\n\n") + 2
        if cut < 2:
            cut = 0 if length < LONGEST_PARAGRAPH else (text.rfind("\n") + 1 or length)
        if cut:
            yield text[:cut]
        held, length = [text[cut:]], length - cut
    if length:
        yield "".join(held)


def token_safe(pieces: Iterable[str], size: int) -> Iterator[str]:
    """The same text in pieces of about `size` characters, cut where pre-tokenizers cut too: before " word" or a line.

    So the tokens of the pieces are the tokens of the whole. Text without such a place in reach is cut anywhere.
    """
    held = ""
    for piece in pieces:
        held += piece
        start = 0
        while len(held) - start > size + REACH:
            cut = _border(held, start + size)
            yield held[start:cut]
            start = cut
        held = held[start:]
    if held:
        yield held


def _border(text: str, earliest: int) -> int:
    for border in (BEFORE_WORD, AFTER_LINE):
        if match := border.search(text, earliest, earliest + REACH):
            return match.start()
    return earliest
