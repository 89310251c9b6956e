"""MinHash fingerprints of passages (Broder 1997), with banding (Leskovec et al., Mining of Massive Datasets, 3.4).

A passage is a paragraph of at least 20 words. Its exact key is a hash of its text with white space collapsed. Its
signature is the minimum of each hash function over its three-word shingles; each band of rows is hashed into a key.
"""

import re
import zlib
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MINIMUM_WORDS = 20
SHINGLE_WORDS = 3
BANDS, ROWS = 16, 8
"""16 bands of 8 rows: passages 80 % alike share a band with probability 0.95, 90 % alike 0.9999, 50 % alike 0.06."""

BLANK_LINES = re.compile(rb"\n(?:[ \t\r\f\v]*\n)+")
# Words, and single characters of scripts that put no spaces between words (Thai to Khmer; kana and Han).
SCRIPTS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(rf"[^\W{SCRIPTS}]+|[{SCRIPTS}]")
# The same for ASCII: small letters, and a space for all that is part of no word.
ASCII_WORDS = bytes(ord(chr(byte).lower()) if re.match(r"\w", chr(byte), re.ASCII) else 32 for byte in range(256))
BLANKS = bytes.maketrans(b"\t\n\v\f\r", b"     ")

_random = np.random.default_rng(20)
MULTIPLIERS = _random.integers(0, 1 << 32, (BANDS * ROWS, 1), np.uint32) | np.uint32(1)
MASKS = _random.integers(0, 1 << 32, (BANDS * ROWS, 1), np.uint32)
BAND_MULTIPLIERS = _random.integers(0, 1 << 63, (1, ROWS, 1), np.uint64) * np.uint64(2) + np.uint64(1)

Signatures = NDArray[np.uint8]
Offsets = NDArray[np.int64]
Keys = NDArray[np.uint64]


class Fingerprints(NamedTuple):
    """The fingerprints of N passages.

    Attributes:
        ranges: (N, 2), start of each passage and of what follows it, in bytes.
        exact: (N), hashes of the text.
        bands: (BANDS, N), hashes of the rows of each band.
        signatures: (N, BANDS * ROWS), the low byte of each minimum.
    """

    ranges: Offsets
    exact: Keys
    bands: Keys
    signatures: Signatures


def fingerprint_text(text: bytes) -> Fingerprints:
    """The fingerprints of all passages of a UTF-8 text."""
    ranges: list[tuple[int, int]] = []
    exact: list[bytes] = []
    words: list[bytes] = []
    firsts: list[int] = []
    breaks = [(blank.start(), blank.end()) for blank in BLANK_LINES.finditer(text)]
    starts = [0, *(end for _, end in breaks)]
    ends = [*(start for start, _ in breaks), len(text)]
    nexts = [*starts[1:], len(text)]
    for start, end, following in zip(starts, ends, nexts, strict=True):
        if end - start < MINIMUM_WORDS:
            continue
        passage = text[start:end]
        found = _words(passage)
        if len(found) >= MINIMUM_WORDS:
            ranges.append((start, following))
            exact.append(blake2b(_collapsed(passage), digest_size=8).digest())
            firsts.append(len(words))
            words += found
    minima = _minima(words, np.array(firsts, np.int64))
    # Row r of band b is minimum number b * ROWS + r.
    bands = (minima.reshape(BANDS, ROWS, -1).astype(np.uint64) * BAND_MULTIPLIERS).sum(axis=1, dtype=np.uint64)
    return Fingerprints(
        ranges=np.array(ranges, np.int64).reshape(-1, 2),
        exact=np.frombuffer(b"".join(exact), np.uint64),
        bands=bands,
        signatures=minima.astype(np.uint8).T,
    )


def _words(passage: bytes) -> list[bytes]:
    if passage.isascii():
        return passage.translate(ASCII_WORDS).split()
    found = WORD.findall(passage.decode("utf-8", "replace").casefold())
    return " ".join(found).encode("utf-8", "replace").split(b" ") if found else []


def _collapsed(passage: bytes) -> bytes:
    """A passage with one space for each run of white space, and none at its ends."""
    flat = passage.translate(BLANKS)
    return b" ".join(flat.split()) if b"  " in flat else flat.strip()


def _minima(words: list[bytes], firsts: Offsets) -> NDArray[np.uint32]:
    """(BANDS * ROWS, N): for each hash function, its minimum over the shingles of each passage.

    Args:
        words: of all passages.
        firsts: (N), index of the first word of each passage.
    """
    passages = len(firsts)
    minima = np.empty((BANDS * ROWS, passages), np.uint32)
    if not passages:
        return minima
    hashes = np.fromiter(map(zlib.crc32, words), np.uint32, len(words))
    shingles = hashes[: 1 - SHINGLE_WORDS or None].copy()
    for offset in range(1, SHINGLE_WORDS):
        shingles *= np.uint32(0x9E3779B1)
        shingles ^= hashes[offset : len(hashes) - SHINGLE_WORDS + 1 + offset]
    shingles ^= shingles >> np.uint32(15)
    shingles *= np.uint32(0x85EBCA77)
    shingles ^= shingles >> np.uint32(13)
    # Every second range of reduceat, (end, next start), is the few shingles that reach into the next passage.
    ends = np.append(firsts[1:], len(words)) - (SHINGLE_WORDS - 1)
    ranges = np.stack([firsts, ends], axis=1).reshape(-1)[:-1]
    hashed = np.empty_like(shingles)
    for row in range(BANDS * ROWS):
        np.bitwise_xor(shingles, MASKS[row], out=hashed)
        np.multiply(hashed, MULTIPLIERS[row], out=hashed)
        minima[row] = np.minimum.reduceat(hashed, ranges)[::2]
    return minima
