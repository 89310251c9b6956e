"""The activation of a feed-forward part: what a neuron passes on of its input."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from openbook.transformer import fused


def relu_squared(x: Tensor) -> Tensor:
    """max(0, x)²   (So et al. 2021, Primer)."""
    return F.relu(x).square()


@fused.accelerated_by(fused.gelu_tanh)
def gelu_tanh(x: Tensor) -> Tensor:
    """x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))   (Hendrycks & Gimpel 2016, section 2)."""
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


def clamp_and_shift(gate: Tensor, up: Tensor, limit: float | None, up_offset: float) -> tuple[Tensor, Tensor]:
    """gate at most `limit`, up between −limit and limit, where there is one; and up + up_offset. Shapes stay."""
    if limit is not None:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return gate, up + up_offset if up_offset else up
