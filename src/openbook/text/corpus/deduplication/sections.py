"""Fingerprints on disk: each section of the text has a folder of arrays, which are read only in part."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from openbook.progress import Advance
from openbook.text.corpus.deduplication.minhash import Keys, Offsets, Signatures, fingerprint_text


@dataclass(frozen=True)
class Section:
    """A part of a batch's text file to fingerprint in one task.

    Attributes:
        text: the text file.
        parts: (start, end) of about a megabyte each, in bytes; they cut no paragraph.
        folder: where the fingerprints go.
        held_out: it is validation text, from which nothing is removed.
    """

    text: Path
    parts: tuple[tuple[int, int], ...]
    folder: Path
    held_out: bool

    @property
    def result(self) -> Path:
        """The file that is written last."""
        return self.folder / "ranges.npy"

    @property
    def size(self) -> int:
        """Bytes of text."""
        return sum(end - start for start, end in self.parts)

    @cached_property
    def passages(self) -> int:
        """How many passages there are."""
        return len(np.load(self.result, mmap_mode="r"))

    def ranges(self) -> Offsets:
        """(passages, 2): start of each passage and of what follows it, in bytes of the text file."""
        return np.asarray(np.load(self.result))

    def keys(self, band: int | None) -> Keys:
        """(passages): keys of one band, or hashes of the text where `band` is None."""
        if band is None:
            return np.asarray(np.load(self.folder / "exact.npy"))
        return np.asarray(np.load(self.folder / "bands.npy", mmap_mode="r")[band])

    def signatures(self, passages: Offsets) -> Signatures:
        """(len(passages), rows): the signatures of some passages."""
        return np.asarray(np.load(self.folder / "signatures.npy", mmap_mode="r")[passages])


def fingerprint_section(section: Section, advance: Advance) -> None:
    """Write the fingerprints of all passages of a section into its folder."""
    ranges, exact, bands, signatures = [], [], [], []
    with section.text.open("rb") as file:
        for start, end in section.parts:
            file.seek(start)
            found = fingerprint_text(file.read(end - start))
            ranges.append(found.ranges + start)
            exact.append(found.exact)
            bands.append(found.bands)
            signatures.append(found.signatures)
            advance(end - start)
    section.folder.mkdir(exist_ok=True)
    np.save(section.folder / "exact.npy", np.concatenate(exact))
    np.save(section.folder / "bands.npy", np.concatenate(bands, axis=1))
    np.save(section.folder / "signatures.npy", np.concatenate(signatures))
    part = section.folder / "ranges.part.npy"
    np.save(part, np.concatenate(ranges))
    part.replace(section.result)
