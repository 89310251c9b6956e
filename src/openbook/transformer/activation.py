"""What a neuron makes of its input."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def relu_squared(x: Tensor) -> Tensor:
    """max(0, x)²   (So et al. 2021, Primer)."""
    return F.relu(x).square()


GELU_A = 2 * math.sqrt(2 / math.pi)
GELU_B = 0.044715 * GELU_A


class _Gelu(torch.autograd.Function):
    """`gelu_tanh` as x · σ(u), since (1 + tanh(u/2)) / 2 = σ(u): on a CPU tanh takes three times as long as σ.

    With u = x · (a + b · x²), a and b as above:
    ∂x = ∂output · (σ + x · σ · (1 − σ) · (a + 3b · x²)).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        sigma = x.square().mul_(GELU_B).add_(GELU_A).mul_(x).sigmoid_()
        ctx.save_for_backward(x, sigma)
        return x * sigma

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x, sigma = ctx.saved_tensors
        slope = x.square().mul_(3 * GELU_B).add_(GELU_A).mul_(x).mul_(1 - sigma).add_(1).mul_(sigma)
        return slope.mul_(gradients[0])


def gelu_tanh(x: Tensor) -> Tensor:
    """x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))   (Hendrycks & Gimpel 2016, section 2)."""
    if x.is_cpu and x.dtype in (torch.float32, torch.float64) and not torch.compiler.is_exporting():
        return _Gelu.apply(x)  # type: ignore[no-untyped-call]
    return F.gelu(x, approximate="tanh")


def gelu_sigmoid(x: Tensor) -> Tensor:
    """x / (1 + exp(−1.702 x))   (Hendrycks & Gimpel 2016, section 2)."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "gelu_sigmoid": gelu_sigmoid,
    "silu": F.silu,
    "relu_squared": relu_squared,
}


def limited(gate: Tensor, up: Tensor, limit: float | None, up_offset: float) -> tuple[Tensor, Tensor]:
    """Gate and up kept within the limit, where there is one, and up moved by its offset. Shapes stay as they are."""
    if limit is not None:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return gate, up + up_offset if up_offset else up
