"""Packing: every sequence once, no row too full, few rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from openbook.training.data.batching import pack


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(50, 80))
def test_every_sequence_is_in_one_row_and_fits(lengths, room):
    rows = pack(np.array(lengths, np.int64), room)
    assert sorted(number for row in rows for number in row.tolist()) == list(range(len(lengths)))
    used = [sum(lengths[number] for number in row) for row in rows]
    assert all(0 < each <= room for each in used)
    assert len(rows) <= 11 / 9 * -(-sum(lengths) // room) + 6 or len(rows) <= 11 / 9 * len(lengths) / 1 + 6
    # Best fit: no two rows could be one.
    assert all(one + other > room for place, one in enumerate(used) for other in used[:place])


def test_long_ones_leave_room_for_short_ones():
    rows = pack(np.array([3, 6, 2, 7, 4, 8], np.int64), 10)
    assert sorted(sorted(row.tolist()) for row in rows) == [[0, 3], [1, 4], [2, 5]]
