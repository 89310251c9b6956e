"""Positions by hand: rotary, sinusoidal, learned, none."""

from math import cos, pi, sin

import pytest
import torch

from openbook.transformer.architecture import Attention, Position
from openbook.transformer.position import Relative, make_position, rotary_angles, rotate


def make(kind, *, base=10_000.0, width=4, context=8, head_width=4):
    attention = Attention(heads=1, key_value_heads=1, head_width=head_width)
    return make_position(Position(kind=kind, base=base), width, context, attention)


def rotated(rotary, x, place):
    """x (K) as it is at this place."""
    return rotate(x[None, None, None], rotary(torch.tensor([[place]])))[0, 0, 0]


def test_angles_are_position_times_base_to_the_minus_2i_over_k():
    # K = 4, base 100: 100^0 = 1 and 100^(−2/4) = 1/10
    torch.testing.assert_close(rotary_angles(torch.tensor([[0, 3]]), 4, 100.0), torch.tensor([[[0, 0], [3.0, 0.3]]]))


def test_rotary_turns_the_pair_i_and_i_plus_half():
    # A quarter turn of the pair (0, 2): the angle is 1 · position, so take base so that only the first pair moves.
    rotary = make("rotary", base=1e9)
    x = torch.tensor([1.0, 5.0, 0.0, 7.0])
    y = rotated(rotary, x, 2)
    torch.testing.assert_close(y, torch.tensor([cos(2), 5.0, sin(2), 7.0]), atol=1e-3, rtol=0)
    y = rotated(rotary, torch.tensor([0.0, 5.0, 1.0, 7.0]), 2)
    torch.testing.assert_close(y, torch.tensor([-sin(2), 5.0, cos(2), 7.0]), atol=1e-3, rtol=0)


def test_rotary_is_complex_multiplication():
    # Independent form: the pair as a complex number, times e^(i · angle).
    rotary, x = make("rotary", base=50.0, head_width=6), torch.randn(1, 5, 2, 6)
    places = torch.tensor([[0, 1, 2, 7, 19]])
    pair = torch.complex(x[..., :3], x[..., 3:])
    turned = pair * torch.exp(1j * places[0, :, None, None] * 50.0 ** (-torch.arange(3) / 3))
    expected = torch.cat((turned.real, turned.imag), dim=-1)
    torch.testing.assert_close(rotate(x, rotary(places)), expected, atol=1e-5, rtol=0)


def test_rotated_products_depend_on_the_distance_only():
    rotary, q, k = make("rotary"), torch.randn(4), torch.randn(4)
    near = rotated(rotary, q, 5) @ rotated(rotary, k, 2)
    far = rotated(rotary, q, 105) @ rotated(rotary, k, 102)
    torch.testing.assert_close(near, far, atol=1e-4, rtol=0)
    assert not torch.isclose(near, rotated(rotary, q, 6) @ rotated(rotary, k, 2), atol=1e-3)


def test_sinusoidal_by_hand():
    # D = 4, base 10,000: sin and cos of p, then of p/100.
    y = make("sinusoidal").embed(torch.zeros(1, 2, 4), torch.tensor([[0, 3]]))[0]
    expected = torch.tensor([[0, 1, 0, 1], [sin(3), cos(3), sin(0.03), cos(0.03)]])
    torch.testing.assert_close(y, expected.float(), atol=1e-6, rtol=0)


def test_sinusoidal_is_added_and_goes_beyond_the_context():
    x = torch.randn(1, 1, 4)
    position = make("sinusoidal", context=2)
    wave = position.embed(torch.zeros(1, 1, 4), torch.tensor([[1000]]))
    torch.testing.assert_close(position.embed(x, torch.tensor([[1000]])), x + wave)


def test_learned_adds_its_row():
    position = make("learned")
    position.weight.data = torch.arange(32.0).view(8, 4)
    y = position.embed(torch.ones(1, 2, 4), torch.tensor([[0, 7]]))
    torch.testing.assert_close(y[0], torch.tensor([[1.0, 2, 3, 4], [29, 30, 31, 32]]))


@pytest.mark.parametrize("kind", ["learned", "sinusoidal", "none"])
def test_only_rotary_rotates(kind):
    x = torch.randn(1, 2, 1, 4)
    position = make(kind)
    assert torch.equal(rotate(x, position(torch.tensor([[3, 4]]))), x)


@pytest.mark.parametrize("kind", ["rotary", "none"])
def test_neither_rotary_nor_none_embeds(kind):
    x = torch.randn(1, 2, 4)
    assert torch.equal(make(kind).embed(x, torch.tensor([[3, 4]])), x)


@pytest.mark.parametrize("kind", ["learned", "sinusoidal", "rotary"])
def test_padding_stays_finite(kind):
    position, places = make(kind), torch.tensor([[-1, 0]])
    assert position.embed(torch.zeros(1, 2, 4), places).isfinite().all()
    assert rotate(torch.ones(1, 2, 1, 4), position(places)).isfinite().all()


def test_a_half_turn_changes_the_sign():
    # base^0 = 1, so at "position" π the first pair of K = 2 is turned by 180°.
    angles = torch.tensor(pi).cos().view(1, 1, 1, 1), torch.tensor(pi).sin().view(1, 1, 1, 1)
    y = rotate(torch.tensor([[[[1.0, 2.0]]]]), angles)
    torch.testing.assert_close(y, torch.tensor([[[[-1.0, -2.0]]]]))


def test_the_rotation_s_gradient_written_out_is_its_derivative():
    rotary = make("rotary", base=50.0, head_width=6)
    angles = tuple(part.double() for part in rotary(torch.tensor([[0, 1, 7], [2, 3, 4]])))
    x = torch.randn(2, 3, 2, 6, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rotate(x, angles), x)
    with torch.no_grad():
        plain = rotate(x, angles)
    torch.testing.assert_close(rotate(x, angles), plain, atol=1e-12, rtol=0)


def test_halves_are_sines_before_cosines_counted_from_the_offset():
    spec = Position(kind="sinusoidal", concatenated=True, offset=2)
    part = make_position(spec, 4, 8, Attention(heads=1, key_value_heads=1, head_width=4))
    y = part.embed(torch.zeros(1, 1, 4), torch.tensor([[1]]))[0, 0]
    torch.testing.assert_close(y, torch.tensor([sin(3), sin(0.03), cos(3), cos(0.03)]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("causal", "expected"),
    [
        # 8 buckets up to 16: one each for 0–3, then 4–5, 6–7, 8–11 and the rest; what comes later is as far as itself.
        (True, {-3: 0, 0: 0, 1: 1, 3: 3, 4: 4, 5: 4, 6: 5, 7: 5, 8: 6, 11: 6, 12: 7, 16: 7, 1000: 7}),
        # 4 buckets each way: one each for 0 and 1, then 2–5 and the rest.
        (False, {0: 0, 1: 1, 2: 2, 5: 2, 6: 3, 1000: 3, -1: 5, -2: 6, -5: 6, -6: 7, -1000: 7}),
    ],
)
def test_relative_buckets_by_hand(causal, expected):
    part = Relative(1, Position(kind="relative", buckets=8, max_distance=16), causal)
    assert part.bucket(torch.tensor(list(expected))).tolist() == list(expected.values())


def test_relative_adds_the_number_of_the_bucket_for_each_head():
    part = Relative(2, Position(kind="relative", buckets=4, max_distance=8), causal=True)
    part.weight.data = torch.tensor([[0.0, 10.0], [1.0, 11.0], [2.0, 12.0], [3.0, 13.0]])
    bias = part.bias(torch.tensor([[5, 6]]), torch.tensor([[4, 5, 6]]))
    assert bias.tolist() == [[[[1, 0, 0], [2, 1, 0]], [[11, 10, 10], [12, 11, 10]]]]
