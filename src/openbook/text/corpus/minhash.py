"""Fingerprints of passages: what `duplicates` compares instead of the text itself.

A passage is a paragraph of at least 20 words. Its exact key is a hash of its text with white space folded; its
signature is the MinHash of its three-word shingles, whose rows are also hashed in bands.
"""

import re
import zlib
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openbook.progress import Advance

FEWEST_WORDS = 20
SHINGLE = 3
BANDS, ROWS = 16, 8
"""16 bands of 8 rows: passages 80 % alike share a band with probability 0.95, 90 % alike 0.9999, 50 % alike 0.06."""

BLANK_LINES = re.compile(rb"\n(?:[ \t\r\f\v]*\n)+")
# Words, and single characters of scripts that do not put spaces between words (Thai to Khmer; kana and Han).
SCRIPTS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(rf"[^\W{SCRIPTS}]+|[{SCRIPTS}]")

_random = np.random.default_rng(20)
MULTIPLIERS = _random.integers(0, 1 << 32, (BANDS * ROWS, 1), np.uint32) | np.uint32(1)
MASKS = _random.integers(0, 1 << 32, (BANDS * ROWS, 1), np.uint32)
BAND_MULTIPLIERS = _random.integers(0, 1 << 63, (1, ROWS, 1), np.uint64) * np.uint64(2) + np.uint64(1)

Signatures = NDArray[np.uint8]
Indices = NDArray[np.int64]
Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class Section:
    """A stretch of a batch's text file to fingerprint: pieces between `borders`, none of which cuts a paragraph."""

    text: Path
    borders: tuple[tuple[int, int], ...]
    folder: Path
    held_out: bool

    @property
    def result(self) -> Path:
        return self.folder / "places.npy"

    @property
    def size(self) -> int:
        return sum(end - start for start, end in self.borders)

    @cached_property
    def passages(self) -> int:
        return len(np.load(self.result, mmap_mode="r"))

    def places(self) -> Indices:
        """[passages, 2]: start of the passage and of what follows it, in bytes of the text file."""
        return np.asarray(np.load(self.result))

    def keys(self, band: int) -> Keys:
        """[passages]: hashes of the folded text for band -1, else of a band's rows."""
        if band < 0:
            return np.asarray(np.load(self.folder / "exact.npy"))
        return np.asarray(np.load(self.folder / "bands.npy", mmap_mode="r")[band])

    def signatures(self, passages: Indices) -> Signatures:
        """[passages, rows]: the low byte of each minimum."""
        return np.asarray(np.load(self.folder / "signatures.npy", mmap_mode="r")[passages])


def fingerprint_section(section: Section, advance: Advance) -> None:
    """Write the hashes of all passages of a section into its folder."""
    all_places, all_exact, all_bands, all_signatures = [], [], [], []
    with section.text.open("rb") as file:
        for start, end in section.borders:
            file.seek(start)
            places, exact, bands, signatures = fingerprint_text(file.read(end - start))
            all_places.append(places + start)
            all_exact.append(exact)
            all_bands.append(bands)
            all_signatures.append(signatures)
            advance(end - start)
    section.folder.mkdir(exist_ok=True)
    np.save(section.folder / "exact.npy", np.concatenate(all_exact))
    np.save(section.folder / "bands.npy", np.concatenate(all_bands, axis=1))
    np.save(section.folder / "signatures.npy", np.concatenate(all_signatures))
    beside = section.folder / "places.part.npy"
    np.save(beside, np.concatenate(all_places))
    beside.replace(section.result)


def fingerprint_text(text: bytes) -> tuple[Indices, Keys, Keys, Signatures]:
    """Indices [passages, 2], exact keys [passages], band keys [bands, passages], signatures [passages, rows]."""
    places: list[tuple[int, int]] = []
    exact: list[bytes] = []
    words: list[str] = []
    firsts: list[int] = []
    breaks = [(blank.start(), blank.end()) for blank in BLANK_LINES.finditer(text)]
    starts = [0, *(end for _, end in breaks)]
    ends = [*(start for start, _ in breaks), len(text)]
    nexts = [*starts[1:], len(text)]
    for start, end, following in zip(starts, ends, nexts, strict=True):
        if end - start < FEWEST_WORDS:
            continue
        passage = text[start:end]
        found = WORD.findall(passage.decode("utf-8", "replace").casefold())
        if len(found) >= FEWEST_WORDS:
            places.append((start, following))
            exact.append(blake2b(b" ".join(passage.split()), digest_size=8).digest())
            firsts.append(len(words))
            words += found
    minima = _minima(words, np.array(firsts, np.int64))
    # Row r of band b is the minimum number b * ROWS + r.
    bands = (minima.reshape(BANDS, ROWS, -1).astype(np.uint64) * BAND_MULTIPLIERS).sum(axis=1, dtype=np.uint64)
    signatures = minima.astype(np.uint8).T
    return np.array(places, np.int64).reshape(-1, 2), np.frombuffer(b"".join(exact), np.uint64), bands, signatures


def _minima(words: list[str], firsts: Indices) -> NDArray[np.uint32]:
    """[rows, passages]: for each of the hash functions, its least value over the shingles of a passage."""
    passages = len(firsts)
    minima = np.empty((BANDS * ROWS, passages), np.uint32)
    if not passages:
        return minima
    hashes = np.fromiter(map(zlib.crc32, " ".join(words).encode("utf-8", "replace").split(b" ")), np.uint32, len(words))
    shingles = hashes[: 1 - SHINGLE or None].copy()
    for offset in range(1, SHINGLE):
        shingles *= np.uint32(0x9E3779B1)
        shingles ^= hashes[offset : len(hashes) - SHINGLE + 1 + offset]
    shingles ^= shingles >> np.uint32(15)
    shingles *= np.uint32(0x85EBCA77)
    shingles ^= shingles >> np.uint32(13)
    # Every second range of reduceat, (end, next start), is the few shingles that reach into the next passage.
    lasts = np.append(firsts[1:], len(words)) - (SHINGLE - 1)
    ranges = np.stack([firsts, lasts], axis=1).reshape(-1)[:-1]
    hashed = np.empty_like(shingles)
    for row in range(BANDS * ROWS):
        np.bitwise_xor(shingles, MASKS[row], out=hashed)
        np.multiply(hashed, MULTIPLIERS[row], out=hashed)
        minima[row] = np.minimum.reduceat(hashed, ranges)[::2]
    return minima
