"""Masks: the predicates, drawn as squares in which 1 means that the row's query may look at the column's key."""

import torch

from openbook.transformer.mask import (
    SHARED_PREFIX,
    TokenPositions,
    both,
    causal,
    make_mask,
    not_padding,
    positions_of,
    same_document,
    window,
)


def square(*rows):
    return torch.tensor([[cell == "1" for cell in row] for row in rows])


def places(*positions, documents=None):
    return TokenPositions(torch.tensor([positions]), None if documents is None else torch.tensor([documents]))


def drawn(predicate, at):
    return predicate(at.unsqueeze(-1), at.unsqueeze(-2))[0]


def test_causal():
    assert torch.equal(drawn(causal, places(0, 1, 2)), square("100", "110", "111"))


def test_window_counts_the_token_itself():
    expected = square("1000", "1100", "0110", "0011")
    assert torch.equal(drawn(both(causal, window(2)), places(0, 1, 2, 3)), expected)


def test_padding_is_seen_by_padding_alone():
    expected = square("100", "010", "011")
    assert torch.equal(drawn(both(causal, not_padding), places(-1, 0, 1)), expected)


def test_documents_do_not_see_each_other():
    at = places(0, 1, 2, 3, documents=[7, 7, 4, 4])
    assert torch.equal(drawn(both(causal, same_document), at), square("1000", "1100", "0010", "0011"))


def test_documents_see_the_beginning_that_all_share():
    at = places(0, 1, 2, 3, 2, documents=[SHARED_PREFIX, SHARED_PREFIX, 7, 7, 4])
    assert torch.equal(drawn(both(causal, same_document), at), square("10000", "11000", "11100", "11110", "11001"))


def test_decoder_mask_joins_what_applies():
    at = places(-1, 0, 1, 2, documents=[0, 0, 0, 1])
    mask = make_mask(at, at._replace(padded=True), window_size=2)
    assert torch.equal(mask.allowed[0], square("1000", "0100", "0110", "0001"))
    assert not mask.is_causal


def test_plain_causal_is_left_to_the_kernel():
    at = places(0, 1, 2)
    assert make_mask(at, at).is_causal
    assert make_mask(at, at, window_size=3).is_causal
    assert not make_mask(at, at, window_size=2).is_causal
    assert not make_mask(at, at._replace(padded=True)).is_causal


def test_one_new_token_sees_everything_kept():
    new, kept = places(3), places(0, 1, 2, 3)
    assert make_mask(new, kept).allowed is None
    assert make_mask(new, kept, window_size=4).allowed is None
    assert torch.equal(make_mask(new, kept, window_size=3).allowed[0], square("0111"))


def test_new_tokens_among_kept_ones_are_not_the_plain_triangle():
    mask = make_mask(places(2, 3), places(0, 1, 2, 3))
    assert not mask.is_causal
    assert torch.equal(mask.allowed[0], square("1110", "1111"))


def test_the_window_is_measured_in_positions_not_in_keys():
    at = places(0, 1, 9)  # three keys, but the last is far away
    assert torch.equal(make_mask(at, at._replace(padded=True), window_size=3).allowed[0], square("100", "110", "001"))


def test_every_query_sees_something():
    """A row of softmax with nothing to weigh would be NaN, also where padding and documents meet."""
    at = places(-1, -1, 0, 1, 2, -1, documents=[0, 1, 2, 2, 3, 3])
    for size in (None, 1, 2):
        assert make_mask(at, at._replace(padded=True), window_size=size).allowed.any(-1).all()


def test_positions_of_left_right_and_no_padding():
    real = torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    assert positions_of(real).tolist() == [[-1, -1, 0, 1], [0, 1, -1, -1], [0, 1, 2, 3]]
