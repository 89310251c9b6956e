"""Positions: sinusoidal, learned, rotary or none, four parts with the same methods, which do nothing by default.

Positions are whole numbers from 0; a negative one marks padding.
"""

from typing import Any

import torch
from torch import Tensor, nn

from openbook.trace import note, tracing
from openbook.transformer import architecture

Angles = tuple[Tensor, Tensor]
"""Cosines and sines, each (B, T, 1, K/2), worked out once for all layers of a forward pass."""


class NoPosition(nn.Module):
    """Says nothing of position. The other parts override what they need."""

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Add the position to embeddings. x (B, T, D), positions (B or 1, T) → (B, T, D)."""
        return x

    def forward(self, positions: Tensor) -> Angles | None:
        """The angles that `rotate` needs at these positions (B or 1, T)."""
        return None

    def rotate(self, x: Tensor, angles: Angles | None) -> Tensor:
        """Turn queries or keys (B, T, H, K) by their position."""
        return x


def rotary_angles(positions: Tensor, width: int, base: float) -> Tensor:
    """position · base^(−2i/width) for i < width/2. positions (B, T) → (B, T, width/2)."""
    exponent = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width
    return positions[..., None] * (1.0 / base**exponent)


class _LearningRotation(torch.autograd.Function):
    """The rotation in half as many passes over memory; its gradient is turned back by the same angle."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _turned(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _turned(gradients[0], cosine, -sine), None, None


def _turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    turned = torch.empty_like(x)
    (first, second), (new_first, new_second) = x.chunk(2, dim=-1), turned.chunk(2, dim=-1)
    torch.mul(first, cosine, out=new_first).addcmul_(second, sine, value=-1)
    torch.mul(second, cosine, out=new_second).addcmul_(first, sine)
    return turned


class Rotary(NoPosition):
    """Rotates the pair (i, i + K/2) of every query and key (Su et al. 2021, section 3.2)."""

    def __init__(self, head_width: int, spec: architecture.Position) -> None:
        super().__init__()
        self.head_width, self.base = head_width, spec.base

    def forward(self, positions: Tensor) -> Angles:
        angles = note("angle", rotary_angles(positions, self.head_width, self.base)[..., None, :])
        return note("cosine", angles.cos()), note("sine", angles.sin())

    def rotate(self, x: Tensor, angles: Angles | None) -> Tensor:
        assert angles is not None
        cosine, sine = (part.to(x.dtype) for part in angles)
        if torch.is_grad_enabled() and not tracing():
            return _LearningRotation.apply(x, cosine, sine)  # type: ignore[no-untyped-call]
        first, second = x.chunk(2, dim=-1)
        return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


class Sinusoidal(NoPosition):
    """Adds sin(angle) at dimension 2i and cos(angle) at 2i + 1 (Vaswani et al. 2017, section 3.5)."""

    def __init__(self, spec: architecture.Position) -> None:
        super().__init__()
        self.base = spec.base

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        angles = note("angle", rotary_angles(positions.clamp(min=0), x.shape[-1], self.base))
        waves = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)
        return x + note("position_embedding", waves.to(x.dtype))


class Learned(NoPosition):
    """Adds one trained row for each of the first `context` positions."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(context, width))

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        return x + note("position_embedding", self.weight[positions.clamp(min=0)])


def make_position(spec: architecture.Position, width: int, context: int, head_width: int) -> NoPosition:
    """The part named by `spec.kind`."""
    match spec.kind:
        case "rotary":
            return Rotary(head_width, spec)
        case "sinusoidal":
            return Sinusoidal(spec)
        case "learned":
            return Learned(width, context)
        case _:
            return NoPosition()
