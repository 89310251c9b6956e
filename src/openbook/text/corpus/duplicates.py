"""Passages that occur twice, exactly or nearly: found by fingerprints, so any amount of text fits in little memory.

Near are passages that share a band of their signatures and agree in at least `SIMILAR` of all rows, which estimates
the Jaccard similarity of their shingles. The first occurrence stays; what is near a removed passage goes too, as in a
cluster of which one is kept.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from openbook.progress import Advance
from openbook.text.corpus.minhash import BANDS, Indices, Keys, Section, Signatures

SIMILAR = 0.8
KEPT, EXACT, NEAR = 0, 1, 2

RECORDS_AT_ONCE = 1 << 23
PAIRS_AT_ONCE = 1 << 16
STEPS = 1 + BANDS

Marks = NDArray[np.uint8]


def mark_duplicates(sections: list[Section], marks: Marks, advance: Advance) -> None:
    """Set marks [passages of all sections in order] to EXACT or NEAR where an earlier passage is alike.

    Passages of held-out sections are only compared with, never marked; these sections come first.
    Advances by one for each of the bands and one for the exact keys.
    """
    ends = np.cumsum([section.passages for section in sections])
    protected = sum(section.passages for section in sections if section.held_out)
    for band in range(-1, BANDS):
        for earlier, later in _equal_pairs(sections, marks, band):
            removable = later >= protected
            earlier, later = earlier[removable], later[removable]
            if band < 0:
                marks[later] = EXACT
            else:
                alike = _similarity(sections, ends, earlier, later) >= SIMILAR
                marks[later[alike]] = NEAR
        advance(1)


def _equal_pairs(sections: list[Section], marks: Marks, band: int) -> Iterator[tuple[Indices, Indices]]:
    """(earlier, later) passages with equal keys.

    Memory stays bounded in two ways: equals are paired within a section first, and only one of them meets the other
    sections; and these meetings go through slices of the key space, each of which holds all equals of its keys.
    """
    slices = -(-len(marks) // RECORDS_AT_ONCE)
    for each in range(slices):
        first_keys: list[Keys] = []
        first_passages: list[Indices] = []
        start = 0
        for section in sections:
            keys = section.keys(band)
            chosen = marks[start : start + len(keys)] != EXACT
            if slices > 1:
                chosen &= keys % np.uint64(slices) == each
            keys, passages = keys[chosen], np.flatnonzero(chosen) + start
            firsts, earlier, later = _equals(keys)
            yield passages[earlier], passages[later]
            first_keys.append(keys[firsts])
            first_passages.append(passages[firsts])
            start += section.passages
        passages = np.concatenate(first_passages)
        _, earlier, later = _equals(np.concatenate(first_keys))
        for pair in range(0, len(later), PAIRS_AT_ONCE):
            yield passages[earlier[pair : pair + PAIRS_AT_ONCE]], passages[later[pair : pair + PAIRS_AT_ONCE]]


def _equals(keys: Keys) -> tuple[Indices, Indices, Indices]:
    """(indices of first occurrences, earlier, later): later ones paired with their first and with the one before."""
    order = np.argsort(keys, kind="stable")  # stable: equals stay in the order of the text
    repeats = np.flatnonzero(keys[order][1:] == keys[order][:-1]) + 1
    is_first = np.ones(len(keys), bool)
    is_first[repeats] = False
    firsts = np.maximum.accumulate(np.where(is_first, np.arange(len(keys)), 0))[repeats]
    apart = firsts != repeats - 1
    earlier = np.concatenate([firsts, repeats[apart] - 1])
    later = np.concatenate([repeats, repeats[apart]])
    return np.sort(order[is_first]), order[earlier], order[later]


def _similarity(sections: list[Section], ends: Indices, earlier: Indices, later: Indices) -> NDArray[np.float64]:
    """The share of signature rows in which two passages agree, for each pair."""
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
