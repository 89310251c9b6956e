"""Bytes → text: byte order marks, UTF-8 first, else a guess from the lines that are not ASCII."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.text.corpus.books import shown

BLOCK = 1 << 20
SAMPLE = 1 << 16
BYTE_ORDER_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def detect_encoding(path: Path, declared: str | None = None) -> str:
    """The name of the codec to read a file with; `declared` is believed only where the bytes are not UTF-8.

    The whole file is read, a block at a time. Raises OpenbookError for binary files and unrecognisable encodings.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        block = file.read(BLOCK)
        for mark, encoding in BYTE_ORDER_MARKS:
            if block.startswith(mark):
                return encoding
        try:
            while block:
                if b"\0" in block:
                    raise binary(path)
                decoder.decode(block)
                last, block = block, file.read(BLOCK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            guess = declared or _guess(block or last)
            if guess is None:
                raise OpenbookError(f"{shown(path)}: its encoding is not recognisable; save it as UTF-8") from None
            return guess
    return "utf-8"


def decode(path: Path, encoding: str) -> Iterator[str]:
    """The text of a file in pieces of about a million characters that end at line borders (or within endless lines).

    CRLF and CR become LF; bytes that do not fit the encoding become U+FFFD. Raises OpenbookError where NUL shows up.
    """
    with path.open(encoding=encoding, errors="replace", newline=None) as file:
        while piece := file.read(BLOCK) + file.readline(BLOCK):
            if "\0" in piece:
                raise binary(path)
            yield piece


def binary(path: Path) -> OpenbookError:
    return OpenbookError(f"{shown(path)}: binary, not text; convert it to txt, md, html, epub or pdf, or leave it out")


def _guess(block: bytes) -> str | None:
    import charset_normalizer

    # Only lines with other than ASCII tell encodings apart; cutting at line ends keeps characters whole.
    sample = b"\n".join(line for line in block.split(b"\n") if not line.isascii())[:SAMPLE]
    as_utf8 = sample.decode("utf-8", "replace")
    damaged = as_utf8.count("\ufffd")
    if damaged * 10 < sum(not character.isascii() for character in as_utf8):
        return "utf-8"  # a few bytes are broken, the rest is no accident
    best = charset_normalizer.from_bytes(sample).best()
    if best is None:
        return None
    if sample.decode("cp1252", "replace") == str(best):
        return "cp1252"  # of the encodings that read this sample alike, the most usual one
    return best.encoding
