"""Cleans characters, for training and asking alike: a model is asked in the characters that it learned."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
BETWEEN_WORDS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
"""Thai, Lao, Burmese and Khmer, which have no blanks between words: a zero-width space there is one."""
TYPESETTING = re.compile(f"\u00ad(?:\n(?=\\w))?|[\u2060\ufeff]|(?<![{BETWEEN_WORDS}])\u200b|[ﬀ-ﬆ]")
"""Soft hyphens (with the line end that one stands at), word joiners, zero-width spaces, byte order marks, ligatures."""

LONG_RUN = re.compile(r"([^\w\s]{31,})")
"""More marks on a letter than any text has (Unicode's stream-safe format); to order them takes quadratic time."""

LINE_ENDS = re.compile("\r\n?")


def clean_chunks(chunks: Iterable[str]) -> Iterator[str]:
    """The same text without soft hyphens and invisible marks, with the letters of ligatures, composed (NFC).

    Texts from a Mac often have é, が or 각 as letters and marks apart, which nobody types in a prompt. A chunk ends at
    a line end, so nothing that is replaced is cut in two.
    """
    for chunk in chunks:
        # No ASCII character is replaced or composed.
        plain = chunk.isascii()
        yield chunk if plain else _composed(TYPESETTING.sub(lambda found: LIGATURES.get(found[0], ""), chunk))


def clean_text(text: str) -> str:
    """A prompt or message as `clean_chunks` leaves books: with LF as line end, and no white space at its ends."""
    (clean,) = clean_chunks([LINE_ENDS.sub("\n", text).replace("\0", "\ufffd")])
    return clean.strip()


def clean_line(text: str) -> str:
    """A sentence, or another line: as `clean_text`, and each run of white space is one blank."""
    return " ".join(clean_text(text).split())


def _composed(text: str) -> str:
    """The text in NFC, but for runs of marks that are too long to be of a letter."""
    if text.isascii():
        return text
    parts = LONG_RUN.split(text)
    parts[::2] = [unicodedata.normalize("NFC", part) for part in parts[::2]]
    return "".join(parts)
