"""The feed-forward part of a block, which works on each token alone; (B, T, D) → (B, T, D)."""

from torch import Tensor, nn

from openbook.trace import note
from openbook.transformer import architecture
from openbook.transformer.activation import ACTIVATIONS, gated
from openbook.transformer.experts import MixtureOfExperts


class FeedForward(nn.Module):
    """down(activation(up(x)))   (Vaswani et al. 2017, eq. 2)."""

    def __init__(self, width: int, spec: architecture.FeedForward) -> None:
        super().__init__()
        self.spec = spec
        self.up = nn.Linear(width, spec.width, bias=spec.bias)
        self.down = nn.Linear(spec.width, width, bias=spec.bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = note("hidden", ACTIVATIONS[self.spec.activation](note("up", self.up(x))))
        return note("output", self.down(hidden))


class GatedFeedForward(FeedForward):
    """down(activation(gate(x)) · up(x)): SwiGLU with silu, GeGLU with gelu   (Shazeer 2020, eq. 6)."""

    def __init__(self, width: int, spec: architecture.FeedForward) -> None:
        super().__init__(width, spec)
        self.gate = nn.Linear(width, spec.width, bias=spec.bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = note("gate", self.gate(x)), note("up", self.up(x))
        hidden = note("hidden", gated(gate, up, self.spec))
        return note("output", self.down(hidden))


def make_feed_forward(width: int, spec: architecture.FeedForward) -> nn.Module:
    """The feed-forward part that `spec` names."""
    if spec.experts is not None:
        return MixtureOfExperts(width, spec, spec.experts)
    return GatedFeedForward(width, spec) if spec.gated else FeedForward(width, spec)
