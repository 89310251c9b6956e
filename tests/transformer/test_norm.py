"""RMSNorm and LayerNorm, by hand and against torch."""

import pytest
import torch
from torch import nn

from openbook.trace import trace
from openbook.transformer.architecture import NO_NORM, Norm
from openbook.transformer.norm import make_norm


def test_rms_norm_by_hand():
    # mean square of (3, −4, 0, 0) is 25/4, its root 2.5
    norm = make_norm(4, Norm(kind="rms", epsilon=1e-12))
    norm.weight.data = torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.testing.assert_close(norm(torch.tensor([3.0, -4.0, 0.0, 0.0])), torch.tensor([1.2, -3.2, 0.0, 0.0]))


def test_rms_norm_adds_epsilon_to_the_mean_square():
    # mean square 1, epsilon 3: divided by sqrt(1 + 3) = 2
    norm = make_norm(2, Norm(kind="rms", epsilon=3.0))
    torch.testing.assert_close(norm(torch.tensor([1.0, -1.0])), torch.tensor([0.5, -0.5]))


def test_layer_norm_by_hand():
    # (1, 3): mean 2, variance 1 (divided by 2, not by 1), epsilon 3: (−1, 1) / 2
    norm = make_norm(2, Norm(kind="layer", epsilon=3.0, bias=True))
    norm.weight.data = torch.tensor([1.0, 2.0])
    norm.bias.data = torch.tensor([10.0, 20.0])
    torch.testing.assert_close(norm(torch.tensor([1.0, 3.0])), torch.tensor([9.5, 21.0]))


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_offset_is_added_to_the_weight(kind):
    x = torch.randn(3, 8)
    plain, offset = make_norm(8, Norm(kind=kind)), make_norm(8, Norm(kind=kind, offset=1.0))
    torch.testing.assert_close(plain(x), offset(x))  # both start as the bare normalisation
    offset.weight.data = torch.randn(8)
    plain.weight.data = 1.0 + offset.weight
    torch.testing.assert_close(plain(x), offset(x))


def test_none_is_the_identity():
    x = torch.randn(3, 8)
    assert torch.equal(make_norm(8, NO_NORM)(x), x)
    assert not list(make_norm(8, NO_NORM).parameters())


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        (Norm(kind="rms", epsilon=1e-3), nn.RMSNorm(8, eps=1e-3)),
        (Norm(kind="layer", epsilon=1e-3), nn.LayerNorm(8, eps=1e-3, bias=False)),
        (Norm(kind="layer", epsilon=1e-3, bias=True), nn.LayerNorm(8, eps=1e-3)),
    ],
)
def test_against_torch(spec, reference, traced):
    for parameter in reference.parameters():
        parameter.data = torch.randn(8)
    norm = make_norm(8, spec)
    norm.load_state_dict(reference.state_dict())
    x = 5 * torch.randn(2, 3, 8)
    if traced:
        with trace(norm):
            y = norm(x)
    else:
        y = norm(x)
    torch.testing.assert_close(y, reference(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_the_gradient_of_rms_norm_is_that_of_its_formula(offset):
    part = make_norm(5, Norm(kind="rms", offset=offset)).double()
    torch.nn.init.normal_(part.weight)

    def normed(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(part, {"weight": weight}, x)

    x = torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(normed, (x, part.weight))


def test_the_gradient_of_rms_norm_keeps_its_precision_under_autocast():
    """The sums over a vector are not left to bfloat16."""
    part = make_norm(64, Norm(kind="rms"))
    torch.nn.init.normal_(part.weight)
    x, of_output = torch.randn(2, 9, 64, requires_grad=True), torch.randn(2, 9, 64)
    plain = torch.autograd.grad(part(x), (x, part.weight), of_output)
    with torch.autocast("cpu", torch.bfloat16):
        cast = torch.autograd.grad(part(x), (x, part.weight), of_output)
    torch.testing.assert_close(cast, plain, rtol=1e-5, atol=1e-5)
