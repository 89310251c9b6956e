"""Labels passages that occur twice, exactly or nearly, from their fingerprints; memory stays small for any text.

Two passages are nearly alike if they share a band and agree in at least `SIMILAR` of the rows of their signatures,
which estimates the Jaccard similarity of their shingles. The first occurrence stays. A passage that resembles a
removed one is removed too, so one passage remains of each cluster.
"""

from collections.abc import Iterator
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from openbook.progress import Advance
from openbook.text.corpus.deduplication.minhash import BANDS, Keys, Offsets, Signatures
from openbook.text.corpus.deduplication.sections import Section

SIMILAR = 0.8
MAXIMUM_KEYS = 1 << 23
"""Keys to compare at once; more are compared in slices."""
MAXIMUM_PAIRS = 1 << 16
"""Pairs of signatures to compare at once."""
STEPS = 1 + BANDS
"""How often `label_duplicates` advances."""

Labels = NDArray[np.uint8]


class Duplicate(IntEnum):
    """Whether an earlier passage is like this one."""

    NONE = 0
    EXACT = 1
    NEAR = 2


def label_duplicates(sections: list[Section], labels: Labels, advance: Advance) -> None:
    """Set `labels`, one for each passage of all sections, to EXACT or NEAR where an earlier passage is alike.

    Held-out sections come first; their passages are compared with but never labelled. Advances by one for the exact
    keys and for each band.
    """
    ends = np.cumsum([section.passages for section in sections])
    protected = sum(section.passages for section in sections if section.held_out)
    for band in (None, *range(BANDS)):
        for earlier, later in _equal_pairs(sections, labels, band):
            removable = later >= protected
            earlier, later = earlier[removable], later[removable]
            if band is None:
                labels[later] = Duplicate.EXACT
            else:
                alike = _similarity(sections, ends, earlier, later) >= SIMILAR
                labels[later[alike]] = Duplicate.NEAR
        advance(1)


def _equal_pairs(sections: list[Section], labels: Labels, band: int | None) -> Iterator[tuple[Offsets, Offsets]]:
    """(earlier, later) passages with equal keys.

    Two things bound memory. Equal keys are paired within a section first, and only the first of them is compared with
    the other sections. That comparison goes through slices of the key space, each with all passages of its keys.
    """
    slices = -(-len(labels) // MAXIMUM_KEYS)
    for number in range(slices):
        first_keys: list[Keys] = []
        first_passages: list[Offsets] = []
        start = 0
        for section in sections:
            keys = section.keys(band)
            chosen = labels[start : start + len(keys)] != Duplicate.EXACT
            if slices > 1:
                chosen &= keys % np.uint64(slices) == number
            keys, passages = keys[chosen], np.flatnonzero(chosen) + start
            firsts, earlier, later = _pair_equals(keys)
            yield passages[earlier], passages[later]
            first_keys.append(keys[firsts])
            first_passages.append(passages[firsts])
            start += section.passages
        passages = np.concatenate(first_passages)
        _, earlier, later = _pair_equals(np.concatenate(first_keys))
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


def _similarity(sections: list[Section], ends: Offsets, earlier: Offsets, later: Offsets) -> NDArray[np.float64]:
    """The share of signature rows in which the two passages of each pair agree."""
    passages = np.unique(np.concatenate([earlier, later]))
    if not len(passages):
        return np.zeros(0)
    homes = np.searchsorted(ends, passages, side="right")
    starts = ends - [section.passages for section in sections]
    rows: list[Signatures] = [
        sections[home].signatures(passages[homes == home] - starts[home]) for home in np.unique(homes)
    ]
    signatures = np.concatenate(rows)
    agree = signatures[np.searchsorted(passages, earlier)] == signatures[np.searchsorted(passages, later)]
    return agree.mean(axis=1)
