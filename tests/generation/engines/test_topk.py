"""The tournament against a search of all."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openbook.generation.engines.topk import GROUP, grouped_topk

sizes = st.integers(1, 12 * GROUP)


@given(sizes, st.integers(1, 3), st.integers(1, 40), st.integers(0, 99))
def test_the_largest_are_those_of_a_search_and_stand_at_their_places(size, beams, count, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, beams, size, generator=generator)
    added = 3 * torch.randn(2, beams, generator=generator)
    found, places = grouped_topk(values, added, count)
    sums = values + added[..., None]
    assert torch.equal(found, sums.flatten(1).topk(min(count, beams * size)).values)
    assert torch.equal(sums.flatten(1).gather(1, places), found)


@pytest.mark.parametrize("size", [3 * GROUP, 3 * GROUP + 5])
def test_the_largest_is_found_at_every_place(size) -> None:
    values = torch.full((size, 1, size), -torch.inf)
    values[:, 0].fill_diagonal_(1.0)
    nothing = torch.zeros(size, 1)
    assert grouped_topk(values, nothing, 1)[1][:, 0].tolist() == list(range(size))
    values[:, 0].fill_diagonal_(torch.nan)
    assert grouped_topk(values, nothing, 1)[0].isnan().all()


def test_where_nothing_is_allowed_there_is_still_a_place() -> None:
    value, place = grouped_topk(torch.full((2, 2, 4 * GROUP + 1), -torch.inf), torch.zeros(2, 2), 1)
    assert value.tolist() == [[-torch.inf], [-torch.inf]]
    assert ((place >= 0) & (place < 2 * (4 * GROUP + 1))).all()
