"""Fingerprints on disk: each section of the text has a folder of arrays, which are read only in part."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from openbook.progress import Advance
from openbook.text.corpus.deduplication.minhash import Fingerprints, Keys, Offsets, Signatures, fingerprint_text

LAST_KEY = (1 << 64) - 1


@dataclass(frozen=True)
class SectionArrays:
    """The fingerprints of a section.

    Attributes:
        folder: where they are.
    """

    folder: Path

    @property
    def path(self) -> Path:
        """The file that is written last: where the passages are."""
        return self.folder / "ranges.npy"

    def ranges(self) -> Offsets:
        """(passages, 2): start of each passage and of what follows it, in bytes of the text file."""
        return np.asarray(np.load(self.path))

    def keys(self, kind: int, first: int = 0, last: int = LAST_KEY) -> tuple[Keys, Offsets]:
        """The keys of one kind from `first` to `last`, in order, and the passage of each. Equal keys: as in the text.

        Kind 0 is the hashes of the text, kind 1 + b the keys of band b.
        """
        keys = np.load(self.folder / "keys.npy", mmap_mode="r")[kind]
        low = int(np.searchsorted(keys, np.uint64(first), side="left"))
        high = int(np.searchsorted(keys, np.uint64(last), side="right"))
        passages = np.load(self.folder / "passages.npy", mmap_mode="r")[kind, low:high]
        return np.array(keys[low:high]), passages.astype(np.int64)

    def signatures(self, passages: Offsets) -> Signatures:
        """(len(passages), rows): the signatures of some passages."""
        return np.asarray(np.load(self.folder / "signatures.npy", mmap_mode="r")[passages])

    def write(self, found: list[Fingerprints]) -> None:
        """Write the fingerprints of the parts of a section."""
        self.folder.mkdir(exist_ok=True)
        exact = np.concatenate([each.exact for each in found])
        keys = np.concatenate([exact[None], np.concatenate([each.bands for each in found], axis=1)])
        order = np.argsort(keys, axis=1, kind="stable")  # stable: equal keys stay in the order of the text
        np.save(self.folder / "keys.npy", np.take_along_axis(keys, order, axis=1))
        np.save(self.folder / "passages.npy", order.astype(np.uint32))
        np.save(self.folder / "signatures.npy", np.concatenate([each.signatures for each in found]))
        part = self.folder / "ranges.part.npy"
        np.save(part, np.concatenate([each.ranges for each in found]))
        part.replace(self.path)


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
    def arrays(self) -> SectionArrays:
        """The fingerprints; call `fingerprint_section` first."""
        return SectionArrays(self.folder)

    @property
    def result(self) -> Path:
        """The file that is written last."""
        return self.arrays.path

    @property
    def size(self) -> int:
        """Bytes of text."""
        return sum(end - start for start, end in self.parts)

    @cached_property
    def passages(self) -> int:
        """How many passages there are."""
        return len(np.load(self.result, mmap_mode="r"))


def fingerprint_section(section: Section, advance: Advance) -> None:
    """Write the fingerprints of all passages of a section into its folder."""
    found = []
    with section.text.open("rb") as file:
        for start, end in section.parts:
            file.seek(start)
            each = fingerprint_text(file.read(end - start))
            found.append(each._replace(ranges=each.ranges + start))
            advance(end - start)
    section.arrays.write(found)
