"""Sequences of any lengths packed into rows of one length, so that little of a batch is padding."""

from bisect import bisect_left, insort

import numpy as np
from numpy.typing import NDArray


def pack(lengths: NDArray[np.int64], room: int) -> list[NDArray[np.int64]]:
    """Put sequences into rows of `room` places: the longest first, each into the fullest row that it fits into.

    Best fit decreasing takes at most 11/9 of the rows that are needed, and six more (Johnson et al. 1974).

    Args:
        lengths: (sequences,), each at most `room`.
        room: places of a row.

    Returns:
        the numbers of the sequences in each row.
    """
    rows: list[list[int]] = []
    left: list[tuple[int, int]] = []  # places left and the row that has them, the fullest first
    for number in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[number])
        place = bisect_left(left, (length, -1))
        if place < len(left):
            free, row = left.pop(place)
        else:
            free, row = room, len(rows)
            rows.append([])
        rows[row].append(number)
        if free > length:
            insort(left, (free - length, row))
    return [np.array(row, np.int64) for row in rows]
