"""The feed-forward part of a block: each token on its own."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from openbook.trace import note
from openbook.transformer import architecture


def relu_squared(x: Tensor) -> Tensor:
    """max(0, x)²   (So et al. 2021, Primer)."""
    return F.relu(x).square()


def gelu_tanh(x: Tensor) -> Tensor:
    """x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))   (Hendrycks & Gimpel 2016, section 2)."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "silu": F.silu,
    "relu_squared": relu_squared,
}


class FeedForward(nn.Module):
    """down(activation(up(x)))   (Vaswani et al. 2017, eq. 2)."""

    def __init__(self, width: int, spec: architecture.FeedForward) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[spec.activation]
        self.up = nn.Linear(width, spec.width, bias=spec.bias)
        self.down = nn.Linear(spec.width, width, bias=spec.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) → (B, T, D)."""
        hidden = note("hidden", self.activation(note("up", self.up(x))))
        return note("output", self.down(hidden))


class GatedFeedForward(FeedForward):
    """down(activation(gate(x)) · up(x)): SwiGLU with silu, GeGLU with gelu   (Shazeer 2020, eq. 6)."""

    def __init__(self, width: int, spec: architecture.FeedForward) -> None:
        super().__init__(width, spec)
        self.gate = nn.Linear(width, spec.width, bias=spec.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) → (B, T, D)."""
        opened = note("activation", self.activation(note("gate", self.gate(x))))
        hidden = note("hidden", opened * note("up", self.up(x)))
        return note("output", self.down(hidden))


def make_feed_forward(width: int, spec: architecture.FeedForward) -> nn.Module:
    """The part that `spec` names."""
    return GatedFeedForward(width, spec) if spec.gated else FeedForward(width, spec)
