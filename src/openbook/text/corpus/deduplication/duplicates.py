"""Labels passages that occur twice, exactly or nearly, from their fingerprints; memory stays small for any text.

Two passages are nearly alike if they share a band and agree in at least `SIMILAR` of the rows of their signatures,
which estimates the Jaccard similarity of their shingles. The first occurrence stays. A passage that resembles a
removed one is removed too, so one passage remains of each cluster.

The keys are divided into slices by their value, and so is the work: each task compares one slice of one kind of keys
of all sections. What it finds does not depend on how many slices there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openbook.progress import Advance, Track
from openbook.text.corpus.deduplication.minhash import BANDS, Keys, Offsets, Signatures
from openbook.text.corpus.deduplication.sections import LAST_KEY, Section, SectionArrays
from openbook.text.corpus.process_pool import run_tasks

SIMILAR = 0.8
MAXIMUM_KEYS = 1 << 22
"""Keys to compare in one task, about."""
MAXIMUM_PAIRS = 1 << 16
"""Pairs of signatures to compare at once."""

Labels = NDArray[np.uint8]


class Duplicate(IntEnum):
    """Whether an earlier passage is like this one."""

    NONE = 0
    EXACT = 1
    NEAR = 2


def label_duplicates(sections: Sequence[Section], folder: Path, processes: int | None, track: Track) -> Labels:
    """A label for each passage of all sections: EXACT or NEAR where an earlier passage is alike.

    Held-out sections come first; their passages are compared with but never labelled.

    Args:
        sections: with their fingerprints on disk, in the folders 000000, 000001 and so on of `folder`.
        folder: for what each task finds, and for the labels, which are mapped and not held in memory.
        processes: how many to use; None: one per core if there is enough text.
        track: shows progress.
    """
    starts = np.concatenate([[0], np.cumsum([section.passages for section in sections], dtype=np.int64)])
    if not starts[-1]:
        return np.zeros(0, np.uint8)
    np.save(folder / "starts.npy", starts)
    protected = sum(section.passages for section in sections if section.held_out)
    labels: Labels = np.memmap(folder / "labels", np.uint8, "w+", shape=(int(starts[-1]),))
    slices = -(-len(labels) // MAXIMUM_KEYS)
    with track("Comparing passages", (1 + BANDS) * slices * -(-len(labels) // slices)) as advance:
        for kinds, label in (((0,), Duplicate.EXACT), (range(1, 1 + BANDS), Duplicate.NEAR)):
            tasks = [Comparison(folder, kind, number, slices, protected) for kind in kinds for number in range(slices)]
            run_tasks(compare_passages, tasks, processes, advance)
            for task in tasks:
                labels[np.load(task.result)] = label
            labels.flush()  # type: ignore[attr-defined]
    return labels


@dataclass(frozen=True)
class Comparison:
    """A task: to compare the passages whose keys of one kind are in a slice of all values.

    Attributes:
        folder: has a folder for each section, `starts.npy` and `labels`.
        kind: of the keys, see `SectionArrays.keys`.
        number: of the slice.
        slices: how many there are.
        protected: passages that are never labelled, the first ones.
    """

    folder: Path
    kind: int
    number: int
    slices: int
    protected: int

    @property
    def result(self) -> Path:
        """The passages that an earlier one is like."""
        return self.folder / f"alike-{self.kind:02}-{self.number:06}-of-{self.slices}.npy"

    @cached_property
    def starts(self) -> Offsets:
        """(sections + 1): the first passage of each section, and the number of them all."""
        return np.asarray(np.load(self.folder / "starts.npy"))

    @property
    def size(self) -> int:
        """Keys to compare, about."""
        return -(-int(self.starts[-1]) // self.slices)

    def section(self, number: int) -> SectionArrays:
        """The fingerprints of a section."""
        return SectionArrays(self.folder / f"{number:06}")


def compare_passages(task: Comparison, advance: Advance) -> None:
    """Write which passages are like an earlier one."""
    found = [np.empty(0, np.int64)]
    for earlier, later in _equal_pairs(task):
        removable = later >= task.protected
        earlier, later = earlier[removable], later[removable]
        if task.kind:
            later = later[_similarity(task, earlier, later) >= SIMILAR]
        found.append(np.unique(later))
    part = task.result.with_suffix(".part.npy")
    np.save(part, np.unique(np.concatenate(found)))
    part.replace(task.result)
    advance(task.size)


def _equal_pairs(task: Comparison) -> Iterator[tuple[Offsets, Offsets]]:
    """(earlier, later) passages with equal keys.

    Equal keys are paired within a section first, and only the first of them is compared with the other sections.
    """
    first_keys: list[Keys] = []
    first_passages: list[Offsets] = []
    width = (LAST_KEY + 1) // task.slices
    last = LAST_KEY if task.number == task.slices - 1 else width * (task.number + 1) - 1
    labels = np.memmap(task.folder / "labels", np.uint8, "r") if task.kind else None
    for number, (start, end) in enumerate(pairwise(task.starts.tolist())):
        if start == end:
            continue
        keys, passages = task.section(number).keys(task.kind, width * task.number, last)
        passages += start
        if labels is not None:
            chosen = labels[passages] != Duplicate.EXACT
            keys, passages = keys[chosen], passages[chosen]
        firsts, earlier, later = _pair_equals(keys)
        yield from _some_at_once(passages, earlier, later)
        first_keys.append(keys[firsts])
        first_passages.append(passages[firsts])
    passages = np.concatenate(first_passages)
    _, earlier, later = _pair_equals(np.concatenate(first_keys))
    yield from _some_at_once(passages, earlier, later)


def _some_at_once(passages: Offsets, earlier: Offsets, later: Offsets) -> Iterator[tuple[Offsets, Offsets]]:
    for pair in range(0, len(later), MAXIMUM_PAIRS):
        yield passages[earlier[pair : pair + MAXIMUM_PAIRS]], passages[later[pair : pair + MAXIMUM_PAIRS]]


def _pair_equals(keys: Keys) -> tuple[Offsets, Offsets, Offsets]:
    """Indices of first occurrences, and pairs (earlier, later) of each repeat with the first and the previous one."""
    order = np.argsort(keys, kind="stable")  # stable: equal keys stay in the order of the text
    repeats = np.flatnonzero(keys[order][1:] == keys[order][:-1]) + 1
    is_first = np.ones(len(keys), bool)
    is_first[repeats] = False
    firsts = np.maximum.accumulate(np.where(is_first, np.arange(len(keys)), 0))[repeats]
    apart = firsts != repeats - 1
    earlier = np.concatenate([firsts, repeats[apart] - 1])
    later = np.concatenate([repeats, repeats[apart]])
    return np.sort(order[is_first]), order[earlier], order[later]


def _similarity(task: Comparison, earlier: Offsets, later: Offsets) -> NDArray[np.float64]:
    """The share of signature rows in which the two passages of each pair agree."""
    passages = np.unique(np.concatenate([earlier, later]))
    if not len(passages):
        return np.zeros(0)
    homes, firsts = np.unique(np.searchsorted(task.starts, passages, side="right") - 1, return_index=True)
    rows: list[Signatures] = [
        task.section(home).signatures(passages[first:last] - task.starts[home])
        for home, (first, last) in zip(homes.tolist(), pairwise([*firsts.tolist(), len(passages)]), strict=True)
    ]
    signatures = np.concatenate(rows)
    agree = signatures[np.searchsorted(passages, earlier)] == signatures[np.searchsorted(passages, later)]
    means: NDArray[np.float64] = agree.mean(axis=1)
    return means
