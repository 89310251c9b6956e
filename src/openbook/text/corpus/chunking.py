"""Cuts streams of text: between paragraphs, or where pre-tokenizers cut, so that the tokens stay the same."""

import re
from collections.abc import Iterable, Iterator

CHUNK = 1 << 20
MAXIMUM_PARAGRAPH = 4 * CHUNK
SEARCH_WINDOW = 1 << 14
"""Characters to search for a place to cut."""

BEFORE_WORD = re.compile(r"(?<=\S)(?= \S)")
AFTER_LINE = re.compile(r"(?<=\n)(?=[^\S\n]*\S)")


def paragraph_chunks(chunks: Iterable[str], size: int = CHUNK) -> Iterator[str]:
    """The same text in chunks of at least `size` characters that end after a blank line.

    A paragraph over `MAXIMUM_PARAGRAPH` is cut at a line end, or anywhere.
    """
    buffer: list[str] = []
    length = 0
    for chunk in chunks:
        buffer.append(chunk)
        length += len(chunk)
        if length < size:
            continue
        text = "".join(buffer)
        cut = text.rfind("\n\n") + 2
        if cut < 2:
            cut = 0 if length < MAXIMUM_PARAGRAPH else (text.rfind("\n") + 1 or length)
        if cut:
            yield text[:cut]
        buffer, length = [text[cut:]], length - cut
    if length:
        yield "".join(buffer)


def token_safe_chunks(chunks: Iterable[str], size: int) -> Iterator[str]:
    """The same text in chunks of about `size` characters, cut where pre-tokenizers cut too: before " word" or a line.

    So the tokens of the chunks are the tokens of the whole. Text without such a place within `SEARCH_WINDOW` is cut
    anywhere.
    """
    buffer = ""
    for chunk in chunks:
        buffer += chunk
        start = 0
        while len(buffer) - start > size + SEARCH_WINDOW:
            cut = _find_cut(buffer, start + size)
            yield buffer[start:cut]
            start = cut
        buffer = buffer[start:]
    if buffer:
        yield buffer


def first_safe_cut(text: str) -> int | None:
    """The first character before which `token_safe_chunks` may cut; None where there is none."""
    found = [match.start() for boundary in (BEFORE_WORD, AFTER_LINE) if (match := boundary.search(text))]
    return min(found, default=None)


def _find_cut(text: str, earliest: int) -> int:
    for boundary in (BEFORE_WORD, AFTER_LINE):
        if match := boundary.search(text, earliest, earliest + SEARCH_WINDOW):
            return match.start()
    return earliest
