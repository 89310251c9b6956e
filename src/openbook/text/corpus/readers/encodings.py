"""Plain text files: byte order marks, then UTF-8, else the best guess from the lines that are not ASCII."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.text.printable import printable_path

CHUNK = 1 << 20
GUESS_SAMPLE = 1 << 16
BYTE_ORDER_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def detect_encoding(path: Path, declared: str | None = None) -> str:
    """The name of the codec for a file; `declared` is used only where the bytes are not UTF-8.

    Reads the whole file, a block at a time.

    Raises:
        OpenbookError: the file is binary, or its encoding is not recognisable.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        block = file.read(CHUNK)
        for mark, encoding in BYTE_ORDER_MARKS:
            if block.startswith(mark):
                return encoding
        try:
            while block:
                if b"\0" in block:
                    raise binary_file_error(path)
                decoder.decode(block)
                last, block = block, file.read(CHUNK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            guess = declared or _guess(block or last)
            if guess is None:
                raise OpenbookError(
                    f"{printable_path(path)}: its encoding is not recognisable; save it as UTF-8"
                ) from None
            return guess
    return "utf-8"


def decode_file(path: Path, encoding: str) -> Iterator[str]:
    """The text of a file in chunks of about a million characters, cut at line ends (or within endless lines).

    CRLF and CR become LF; bytes that do not fit the encoding become U+FFFD.

    Raises:
        OpenbookError: the text contains NUL.
    """
    with path.open(encoding=encoding, errors="replace", newline=None) as file:
        while chunk := file.read(CHUNK) + file.readline(CHUNK):
            if "\0" in chunk:
                raise binary_file_error(path)
            yield chunk


def binary_file_error(path: Path) -> OpenbookError:
    """The error for a file that is not text."""
    return OpenbookError(
        f"{printable_path(path)}: binary, not text; convert it to txt, md, html, epub or pdf, or leave it out"
    )


def _guess(block: bytes) -> str | None:
    import charset_normalizer

    # Only lines that are not pure ASCII tell encodings apart; cutting at line ends keeps characters whole.
    sample = b"\n".join(line for line in block.split(b"\n") if not line.isascii())[:GUESS_SAMPLE]
    as_utf8 = sample.decode("utf-8", "replace")
    damaged = as_utf8.count("\ufffd")
    if damaged * 10 < sum(not character.isascii() for character in as_utf8):
        return "utf-8"  # a few damaged bytes among valid ones: so much valid UTF-8 is no accident
    best = charset_normalizer.from_bytes(sample).best()
    if best is None:
        return None
    if sample.decode("cp1252", "replace") == str(best):
        return "cp1252"  # the most common of the encodings that decode this sample alike
    return best.encoding
