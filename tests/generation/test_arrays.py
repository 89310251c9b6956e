"""The largest of many numbers, against a plain sort."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from openbook.generation.arrays import GROUP, top_indices


@given(
    st.integers(1, 6 * GROUP),
    st.integers(1, 7 * GROUP),
    st.sampled_from([1, 3, 1000]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_the_largest_first_and_of_equal_ones_the_first(size, count, kinds, gaps, seed) -> None:
    """With ties, −∞, and sizes that no group divides."""
    random = np.random.default_rng(seed)
    values = random.integers(0, kinds, (3, size)).astype(np.float32)
    if gaps:
        values[random.random(values.shape) < 0.7] = -np.inf
    expected = np.argsort(-values, axis=-1, kind="stable")[:, :count]
    assert np.array_equal(top_indices(values, count), expected)


def test_nan_breaks_nothing() -> None:
    values = np.full((1, 3 * GROUP), np.nan, dtype=np.float32)
    assert top_indices(values, 2).tolist() == [[0, 1]]
    values[0, 50] = 1
    assert top_indices(values, 1).tolist() == [[50]]
