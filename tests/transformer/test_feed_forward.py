"""The feed-forward part, by hand and against torch."""

from math import erf, exp, pi, sqrt, tanh

import pytest
import torch
import torch.nn.functional as F

from openbook.transformer.activation import ACTIVATIONS
from openbook.transformer.architecture import FeedForward
from openbook.transformer.feed_forward import make_feed_forward

POINTS = [-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0]

FORMULAS = {
    "relu": lambda x: max(0.0, x),
    "gelu": lambda x: x / 2 * (1 + erf(x / sqrt(2))),
    "gelu_tanh": lambda x: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))),
    "gelu_sigmoid": lambda x: x / (1 + exp(-1.702 * x)),
    "silu": lambda x: x / (1 + exp(-x)),
    "relu_squared": lambda x: max(0.0, x) ** 2,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_its_formula(name):
    expected = torch.tensor([FORMULAS[name](x) for x in POINTS])
    torch.testing.assert_close(ACTIVATIONS[name](torch.tensor(POINTS)), expected, atol=1e-6, rtol=0)


def test_the_two_forms_of_gelu_differ():
    assert (ACTIVATIONS["gelu"](torch.tensor(2.5)) - ACTIVATIONS["gelu_tanh"](torch.tensor(2.5))).abs() > 1e-4


def test_plain_by_hand():
    part = make_feed_forward(2, FeedForward(width=2, activation="relu", gated=False, bias=True))
    part.up.weight.data, part.up.bias.data = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([0.0, -1.0])
    part.down.weight.data, part.down.bias.data = torch.tensor([[1.0, 0.0], [2.0, 5.0]]), torch.tensor([0.5, 0.25])
    # x = (2, 1): up (3, 0), relu the same, down (3.5, 6.25)
    torch.testing.assert_close(part(torch.tensor([[2.0, 1.0]])), torch.tensor([[3.5, 6.25]]))


def test_swiglu_by_hand():
    part = make_feed_forward(1, FeedForward(width=2, activation="silu", gated=True))
    part.gate.weight.data = torch.tensor([[1.0], [-1.0]])
    part.up.weight.data = torch.tensor([[3.0], [5.0]])
    part.down.weight.data = torch.tensor([[1.0, 1.0]])
    # x = 1: silu(1) · 3 + silu(−1) · 5, with silu(1) = 1/(1 + e⁻¹) = 0.731059 and silu(−1) = −1/(1 + e) = −0.268941
    torch.testing.assert_close(part(torch.tensor([[1.0]])), torch.tensor([[3 * 0.731059 - 5 * 0.268941]]))


def test_gelu_without_gradients_is_that_with_them():
    x = torch.cat((torch.linspace(-30, 30, 4001), torch.tensor([-1e30, 0.0, 1e30])))
    with torch.no_grad():
        opened = ACTIVATIONS["gelu_tanh"](x)
    torch.testing.assert_close(opened, F.gelu(x, approximate="tanh"), atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh"])
def test_geglu_against_torch(name):
    part = make_feed_forward(6, FeedForward(width=10, activation=name, bias=True))
    x = torch.randn(2, 3, 6)
    form = "tanh" if name == "gelu_tanh" else "none"
    opened = F.gelu(F.linear(x, part.gate.weight, part.gate.bias), approximate=form)
    hidden = opened * F.linear(x, part.up.weight, part.up.bias)
    torch.testing.assert_close(part(x), F.linear(hidden, part.down.weight, part.down.bias), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("gated", "bias", "count"), [(False, False, 2), (False, True, 4), (True, False, 3), (True, True, 6)]
)
def test_parameters_are_those_asked_for(gated, bias, count):
    assert len(list(make_feed_forward(4, FeedForward(width=8, gated=gated, bias=bias)).parameters())) == count


def test_gelu_while_learning_is_that_of_torch():
    x = torch.linspace(-12, 12, 97, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ACTIVATIONS["gelu_tanh"], x)
    for dtype, exact in ((torch.float64, 1e-14), (torch.float32, 1e-6)):
        x = torch.cat((torch.linspace(-60, 60, 961), torch.randn(500))).to(dtype).requires_grad_()
        mine, wanted = ACTIVATIONS["gelu_tanh"](x), F.gelu(x, approximate="tanh")
        torch.testing.assert_close(mine, wanted, atol=exact, rtol=exact)
        slopes = (torch.autograd.grad(y.sum(), x)[0] for y in (mine, wanted))
        torch.testing.assert_close(*slopes, atol=2 * exact, rtol=exact)
