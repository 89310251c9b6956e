"""Divides documents, without their duplicates, into training and validation text."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openbook.text.corpus.extraction import Document

WINDOW = 1 << 20
"""Bytes to search for a place to split."""

Offsets = NDArray[np.int64]


@dataclass(frozen=True)
class DeduplicatedDocument:
    """A document and the ranges of its text that remain.

    Attributes:
        text: the text file of its batch.
        document: the whole document.
        kept: (ranges, 2), start and end of each range in bytes of the text file, in order.
    """

    text: Path
    document: Document
    kept: Offsets

    @cached_property
    def _kept_before(self) -> Offsets:
        """(ranges + 1): bytes kept before each range, and in all of them."""
        return np.concatenate([[0], np.cumsum(self.kept[:, 1] - self.kept[:, 0])])

    @property
    def bytes(self) -> int:
        """How many are kept."""
        return int(self._kept_before[-1])

    def bytes_before(self, offset: int) -> int:
        """How many bytes are kept before an offset of the text file."""
        last = int(np.searchsorted(self.kept[:, 0], offset, side="right")) - 1
        if last < 0:
            return 0
        start, end = self.kept[last].tolist()
        return int(self._kept_before[last]) + min(offset, end) - start

    def tail_offset(self, length: int) -> int:
        """The offset from which on `length` bytes are kept; `length` is from 1 to all."""
        before = self.bytes - length
        index = int(np.searchsorted(self._kept_before, before, side="right")) - 1
        return int(self.kept[index, 0] + before - self._kept_before[index])


def subtract_ranges(document: Document, removed: Offsets) -> Offsets:
    """What remains of a document without the ranges `removed`, which lie in it, in order. Both (ranges, 2)."""
    inner = np.concatenate([[document.start], removed.reshape(-1), [document.end]]).reshape(-1, 2)
    return inner[inner[:, 0] < inner[:, 1]].astype(np.int64)


def choose_validation_fraction(text_bytes: int) -> float:
    """How much to hold out: a tenth of little text, a twentieth of more, 10 MB of very much."""
    if text_bytes < 2_000_000:
        return 0.1
    return min(0.05, 10_000_000 / text_bytes)


def choose_split_offsets(documents: list[DeduplicatedDocument], share: float) -> list[int]:
    """For each document the offset where its validation text begins; its end where it has none.

    Validation text is whole paragraphs. What it lacks of its share in one document is taken from the next one, so that
    many short documents together give the right share. Text without blank lines is split between lines, then words.
    """
    wanted = share * sum(document.bytes for document in documents)
    offsets: list[int] = []
    for separator in (b"\n\n", b"\n", b" "):
        offsets, owed, taken = [], 0.0, 0
        for document in documents:
            owed += share * document.bytes
            offset = _split_offset(document, int(min(owed, document.bytes / 2)), separator)
            tail = document.bytes - document.bytes_before(offset)
            owed -= tail
            taken += tail
            offsets.append(offset)
        if taken >= wanted / 2:
            break
    return offsets


def _split_offset(kept: DeduplicatedDocument, length: int, separator: bytes) -> int:
    """The first offset after a separator that leaves at most `length` bytes, with some visible text among them."""
    end = kept.document.end
    if length == 0:
        return end
    offset = kept.tail_offset(length)
    with kept.text.open("rb") as file:
        file.seek(max(offset - len(separator), kept.document.start))
        start = file.tell()
        window = file.read(min(WINDOW, end - start))
    found = window.find(separator)
    if found < 0:
        return end
    cut = found + len(separator)
    while separator != b" " and window[cut : cut + 1] == b"\n":
        cut += 1
    return start + cut if window[cut:].strip() else end
