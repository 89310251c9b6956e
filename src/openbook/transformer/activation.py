"""The activation of a feed-forward part: what a neuron passes on of its input."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from openbook.trace import note
from openbook.transformer import architecture, fused


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


def gated(
    gate: Tensor, up: Tensor, spec: architecture.FeedForward, view: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """activation(gate) · (up_offset + up), both within the limit   (Shazeer 2020, eq. 6); all of one shape."""
    if spec.limit is not None:
        gate, up = gate.clamp(max=spec.limit), up.clamp(-spec.limit, spec.limit)
    opened = note("activation", ACTIVATIONS[spec.activation](gate), view)
    return opened * (up + spec.up_offset if spec.up_offset else up)
