"""The tournament against a search of all."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openbook.generation.largest import GROUP, largest

sizes = st.integers(1, 12 * GROUP)


@given(sizes, st.integers(1, 6), st.integers(0, 99))
def test_the_largest_are_those_of_a_search_and_stand_at_their_places(size, count, seed) -> None:
    values = torch.randn(2, 3, size, generator=torch.Generator().manual_seed(seed))
    found, places = largest(values, min(count, size))
    assert torch.equal(found, values.topk(min(count, size)).values)
    assert torch.equal(values.gather(-1, places), found)


@pytest.mark.parametrize("size", [3 * GROUP, 3 * GROUP + 5])
def test_the_largest_is_found_at_every_place(size) -> None:
    values = torch.full((size, size), -torch.inf).fill_diagonal_(1.0)
    assert largest(values, 1)[1][:, 0].tolist() == list(range(size))
    assert largest(values.fill_diagonal_(torch.nan), 1)[0].isnan().all()


def test_where_nothing_is_allowed_there_is_still_a_place() -> None:
    value, place = largest(torch.full((2, 4 * GROUP + 1), -torch.inf), 1)
    assert value.tolist() == [[-torch.inf], [-torch.inf]]
    assert ((place >= 0) & (place <= 4 * GROUP)).all()
