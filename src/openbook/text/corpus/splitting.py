"""The last stage of preparation: documents without their duplicates, divided into training and validation text."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from openbook.text.corpus.minhash import Indices
from openbook.text.corpus.read_batch import Document

BLOCK = 1 << 20


@dataclass(frozen=True)
class Remains:
    """A document and the ranges of its text that are kept: [ranges, 2], bytes of its batch's text file, in order."""

    text: Path
    document: Document
    kept: Indices

    @cached_property
    def _kept_before(self) -> Indices:
        """[ranges + 1]: bytes kept before each range, and all of them."""
        return np.concatenate([[0], np.cumsum(self.kept[:, 1] - self.kept[:, 0])])

    @property
    def bytes(self) -> int:
        return int(self._kept_before[-1])

    def before(self, place: int) -> int:
        """Bytes kept before a place."""
        last = int(np.searchsorted(self.kept[:, 0], place, side="right")) - 1
        if last < 0:
            return 0
        start, end = self.kept[last].tolist()
        return int(self._kept_before[last]) + min(place, end) - start

    def place_of_tail(self, length: int) -> int:
        """The place after which `length` bytes are kept, from 1 to all."""
        before = self.bytes - length
        home = int(np.searchsorted(self._kept_before, before, side="right")) - 1
        return int(self.kept[home, 0] + before - self._kept_before[home])


def without(document: Document, removed: Indices) -> Indices:
    """[ranges, 2]: what stays of a document when ranges [removed, 2] that lie in it, in order, are taken out."""
    inner = np.concatenate([[document.start], removed.reshape(-1), [document.end]]).reshape(-1, 2)
    return inner[inner[:, 0] < inner[:, 1]].astype(np.int64)


def place_cuts(documents: list[Remains], share: float) -> list[int]:
    """For each document the place where its validation tail begins; its end where it has none.

    Tails hold whole paragraphs. What a document's tail lacks of its share is asked of the next one, so that many short
    documents give the right share together. Text without blank lines is cut between lines, then between words.
    """
    wanted = share * sum(each.bytes for each in documents)
    cuts: list[int] = []
    for separator in (b"\n\n", b"\n", b" "):
        cuts, owed, taken = [], 0.0, 0
        for each in documents:
            owed += share * each.bytes
            cut = _cut(each, int(min(owed, each.bytes / 2)), separator)
            tail = each.bytes - each.before(cut)
            owed -= tail
            taken += tail
            cuts.append(cut)
        if taken >= wanted / 2:
            break
    return cuts


def _cut(remains: Remains, length: int, separator: bytes) -> int:
    """The first place after a separator that leaves a tail of at most `length` bytes with some text in it."""
    end = remains.document.end
    if length == 0:
        return end
    place = remains.place_of_tail(length)
    with remains.text.open("rb") as file:
        file.seek(max(place - len(separator), remains.document.start))
        start = file.tell()
        window = file.read(min(BLOCK, end - start))
    found = window.find(separator)
    if found < 0:
        return end
    cut = found + len(separator)
    while separator != b" " and window[cut : cut + 1] == b"\n":
        cut += 1
    return start + cut if window[cut:].strip() else end


class SplitWriter:
    """Writes one split: its text, and the index that `corpus.Split` is loaded from."""

    def __init__(self, output: IO[bytes]) -> None:
        self._output = output
        self._documents: list[tuple[str, int, int, list[tuple[int, str]]]] = []

    def add(self, remains: Remains, start: int, end: int) -> int:
        """Append what is kept of a document between two places; the number of bytes of it."""
        base = self._output.tell()
        with remains.text.open("rb") as file:
            for first, last in np.clip(remains.kept, start, end).tolist():
                file.seek(first)
                while first < last:
                    first += self._output.write(file.read(min(BLOCK, last - first)))
        length = self._output.tell() - base
        if length:
            shift = base - remains.before(start)
            chapters = _chapters(remains, start, end, shift)
            self._documents.append((remains.document.source, base, base + length, chapters))
        return length

    def index(self) -> dict[str, Any]:
        return {"bytes": self._output.tell(), "documents": self._documents}


def _chapters(remains: Remains, start: int, end: int, shift: int) -> list[tuple[int, str]]:
    """(place in the split, title) of the chapters between two places of which anything is kept."""
    found: dict[int, str] = {}
    stop = remains.before(end)
    for chapter in remains.document.chapters:
        if chapter.start < end and (place := remains.before(max(chapter.start, start))) < stop:
            found[place + shift] = chapter.title  # of several at one place, all but the last are empty
    return list(found.items())
