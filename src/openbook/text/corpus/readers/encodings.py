"""Plain text files: byte order marks, then UTF-8, then what the file declares, else the best guess."""

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from openbook.errors import OpenbookError
from openbook.text.corpus.readers.alphabets import judge
from openbook.text.corpus.readers.labels import codec_of
from openbook.text.plain_files import open_plain
from openbook.text.printable import printable, printable_path

CHUNK = 1 << 20
GUESS_SAMPLE = 1 << 16
BYTE_ORDER_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CONTROLS = bytes(set(range(32)) - set(b"\t\n\f\r\x1b"))
MOST_CONTROLS = 0.01
"""Share of control characters above which a file with NUL is binary; a stray one is a damaged character."""

EAST_ASIAN = frozenset(["big5hkscs", "cp932", "cp949", "euc_jp", "gb18030", "iso2022_jp"])
SURE, LIKELY = 12.0, 4.0
"""How much likelier, in nats, the guess is than any other text that the bytes could be."""

Certainty = Literal["sure", "likely", "unsure"]


@dataclass(frozen=True)
class Encoding:
    """How to decode a file.

    Attributes:
        name: of the codec.
        guess: how sure the guess is; None where the encoding is known: by its bytes, declared, or given.
    """

    name: str
    guess: Certainty | None = None


def named_encoding(name: str) -> str:
    """The codec for an encoding that the user names. Raises OpenbookError if there is none."""
    codec = codec_of(name)
    if codec is None:
        raise OpenbookError(
            f"encoding {printable(name)!r}: unknown; use a name such as utf-8, windows-1252, iso-8859-2 or shift_jis"
        )
    return codec


def detect_encoding(path: Path, declared: str | None = None, *, given: str | None = None) -> Encoding:
    """How to decode a file. Reads the whole file, a block at a time.

    Args:
        path: the file.
        declared: the codec that the file names, used only where the bytes are not UTF-8.
        given: the encoding that the user names, used whatever the bytes are.

    Raises:
        OpenbookError: the file is binary, or the encoding given is unknown.
    """
    size = controls = 0
    valid = True
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open_plain(path) as file:
        block = file.read(CHUNK)
        marked = next((encoding for mark, encoding in BYTE_ORDER_MARKS if block.startswith(mark)), None)
        if given is not None:
            codec = named_encoding(given)
            return Encoding(marked if marked and marked.startswith(codec) else codec)
        if marked:
            return Encoding(marked)
        if b"\0" in block and (wide := _wide_encoding(block)):
            return Encoding(wide)
        sample, nul, escaped = b"", False, False
        while block:
            size += len(block)
            if b"\0" in block:
                nul = True
            controls += len(block) - len(block.translate(None, CONTROLS))
            if valid:
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    valid = False
            if not block.isascii() and len(sample) < GUESS_SAMPLE:
                sample += _telling_lines(block)
            escaped = escaped or b"\x1b$" in block
            block = file.read(CHUNK)
    if nul and controls > size * MOST_CONTROLS:
        raise binary_file_error(path)
    if valid and sample:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            valid = False
    if valid:
        return Encoding("iso2022_jp" if escaped and not sample else "utf-8")
    if _mostly_utf8(sample):
        return Encoding("utf-8")
    return Encoding(declared) if declared and not declared.startswith("utf") else _guess(sample[:GUESS_SAMPLE])


def decode_file(path: Path, encoding: str, span: tuple[int, int] | None = None) -> Iterator[str]:
    """The text of a file in chunks of about a million characters, cut at line ends (or within endless lines).

    CRLF and CR become LF; bytes that do not fit the encoding, and stray NULs, become U+FFFD.

    Args:
        path: the file.
        encoding: the codec.
        span: the first byte to decode and the one behind the last, of a file that is known to be text; None: all.

    Raises:
        OpenbookError: the text contains many NULs.
    """
    read = nuls = 0
    with path.open("rb") as whole:
        part = whole if span is None else io.BufferedReader(_Span(whole, *span), CHUNK)
        with io.TextIOWrapper(part, encoding, errors="replace", newline=None) as file:
            while chunk := file.read(CHUNK) + file.readline(CHUNK):
                read += len(chunk)
                nuls += chunk.count("\0")
                if span is None and nuls > read * MOST_CONTROLS:
                    raise binary_file_error(path)
                yield chunk.replace("\0", "\ufffd")


class _Span(io.RawIOBase):
    """A part of an open file, as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file, self._left = file, end - start
        file.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(min(len(buffer), self._left))
        buffer[: len(block)] = block
        self._left -= len(block)
        return len(block)


def decode_bytes(content: bytes, declared: str | None = None) -> str:
    """The text of some markup, with its line ends as they are. `declared` is used where the bytes are not UTF-8."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        sample = _telling_lines(content)
    if _mostly_utf8(sample):
        return content.decode("utf-8", "replace")
    return content.decode(declared if declared and not declared.startswith("utf") else _guess(sample).name, "replace")


def binary_file_error(path: Path) -> OpenbookError:
    """The error for a file that is not text."""
    return OpenbookError(
        f"{printable_path(path)}: binary, not text; convert it to txt, md, html, epub or pdf, or leave it out"
    )


def _telling_lines(block: bytes) -> bytes:
    """The lines that are not ASCII: only they tell encodings apart. Whole lines keep characters whole."""
    return b"".join(line + b"\n" for line in block.splitlines() if not line.isascii())[:GUESS_SAMPLE]


def _mostly_utf8(sample: bytes) -> bool:
    """Whether a text is UTF-8 with some damage: so many valid characters beyond ASCII are no accident."""
    text = sample.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    return sum(not character.isascii() for character in text) >= 3 * damaged


def _wide_encoding(block: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: every character is in use, and there are spaces, line ends or full stops."""
    best, most = None, 0
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        text = block[: (GUESS_SAMPLE if len(block) > GUESS_SAMPLE else len(block)) // 4 * 4].decode(encoding, "replace")
        odd = sum(not (character.isprintable() or character.isspace()) for character in text)
        usual = sum(map(text.count, " \n。、"))
        if odd <= len(text) * MOST_CONTROLS and usual > most:
            best, most = encoding, usual
    return best


def _guess(sample: bytes) -> Encoding:
    import chardetng_py

    detector = chardetng_py.EncodingDetector()
    detector.feed(sample, last=True)
    codec = codec_of(detector.guess(tld=None, allow_utf8=False)) or "cp1252"
    if codec in EAST_ASIAN:
        text = sample.decode(codec, "replace")
        beyond = sum(not character.isascii() for character in text)
        if text.count("\ufffd") * 50 <= beyond:
            return Encoding(codec, "sure" if beyond >= 50 else "likely")
    codec, margin = judge(sample)
    return Encoding(codec, "sure" if margin >= SURE else "likely" if margin >= LIKELY else "unsure")
