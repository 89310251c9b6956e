"""Positions: sinusoidal, learned, rotary, relative or none, parts with the same methods, which do nothing by default.

Positions are whole numbers from 0; a negative one marks padding.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from openbook.trace import note, tracing
from openbook.transformer import architecture
from openbook.transformer.rope_scaling import scaled_frequencies

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

    def bias(self, query: Tensor, key: Tensor) -> Tensor | None:
        """What is added to the scores at these positions (B or 1, T) and (B or 1, S): (B or 1, H, T, S)."""
        return None


NO_POSITION = NoPosition()


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
    # Repeated for every head, the angles are read in long stretches: a third of the time.
    heads = x.shape[2]
    turned = x * torch.cat((cosine, cosine), dim=-1).repeat(1, 1, heads, 1)
    sine = sine.repeat(1, 1, heads, 1)
    (first, second), (new_first, new_second) = x.chunk(2, dim=-1), turned.chunk(2, dim=-1)
    new_first.addcmul_(second, sine, value=-1)
    new_second.addcmul_(first, sine)
    return turned


class Rotary(NoPosition):
    """Rotates the pair (i, i + K/2) of every query and key (Su et al. 2021, section 3.2)."""

    def __init__(self, head_width: int, spec: architecture.Position) -> None:
        super().__init__()
        self.head_width, self.base, self.rope_scaling = head_width, spec.base, spec.rope_scaling

    def forward(self, positions: Tensor) -> Angles:
        if self.rope_scaling is None:
            angles = note("angle", rotary_angles(positions, self.head_width, self.base)[..., None, :])
            return note("cosine", angles.cos()), note("sine", angles.sin())
        frequency = note("frequency", scaled_frequencies(positions, self.head_width, self.base, self.rope_scaling))
        angles = note("angle", (positions[..., None] * frequency)[..., None, :])
        return note("cosine", angles.cos() * self.rope_scaling.attention_factor), note(
            "sine", angles.sin() * self.rope_scaling.attention_factor
        )

    def rotate(self, x: Tensor, angles: Angles | None) -> Tensor:
        assert angles is not None
        cosine, sine = (part.to(x.dtype) for part in angles)
        if torch.is_grad_enabled() and not tracing():
            return _LearningRotation.apply(x, cosine, sine)  # type: ignore[no-untyped-call]
        first, second = x.chunk(2, dim=-1)
        return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


class Sinusoidal(NoPosition):
    """Adds sin(angle) at dimension 2i and cos(angle) at 2i + 1 (Vaswani et al. 2017, section 3.5).

    With `concatenated` sin(angle) stands at dimension i and cos(angle) at i + D/2.
    """

    def __init__(self, spec: architecture.Position) -> None:
        super().__init__()
        self.base, self.concatenated, self.offset = spec.base, spec.concatenated, spec.offset

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        angles = note("angle", rotary_angles(positions.clamp(min=0) + self.offset, x.shape[-1], self.base))
        pairs = torch.stack((angles.sin(), angles.cos()), dim=-2 if self.concatenated else -1)
        return x + note("position_embedding", pairs.flatten(-2).to(x.dtype))


class Learned(NoPosition):
    """Adds one trained row for each of the first `context` positions."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(context, width))

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        return x + note("position_embedding", self.weight[positions.clamp(min=0)])


TOLD_APART = 1024
"""Distances of which a table is small beside what it saves."""


class Relative(NoPosition):
    """Adds to the scores a trained number for the distance from query to key (Raffel et al. 2020, section 2.1).

    Distances fall into buckets: one each for the short ones, then ever wider ones up to `distance`. Where tokens see
    both ways, one half of the buckets is for keys before the query, the other for those after it.
    """

    def __init__(self, heads: int, spec: architecture.Position, causal: bool) -> None:
        super().__init__()
        self.causal, self.buckets, self.max_distance = causal, spec.buckets, spec.max_distance
        self.weight = nn.Parameter(torch.zeros(spec.buckets, heads))

    @property
    def one_way(self) -> int:
        """Buckets for keys on one side of the query."""
        return self.buckets if self.causal else self.buckets // 2

    @property
    def exact(self) -> int:
        """Distances below this have a bucket each."""
        return self.one_way // 2

    def bias(self, query: Tensor, key: Tensor) -> Tensor:
        back = query[..., :, None] - key[..., None, :]
        if tracing():
            note("bucket", self.bucket(back))
        # Few distances are told apart, so what they add is looked up once for each and not once for each pair.
        # Laid out as the kernels read it: a quarter of the time of a small layer's attention, while learning.
        return note("bias", self._of_distances(back).movedim(0, -3).contiguous())

    def _of_distances(self, back: Tensor) -> Tensor:
        """What each of them adds, for each head: (…) → (H, …)."""
        if self.max_distance > TOLD_APART:
            return self.weight[self.bucket(back)].movedim(-1, 0)
        first = 0 if self.causal else -self.max_distance
        table = self.weight[self.bucket(torch.arange(first, self.max_distance + 1, device=back.device))].T.contiguous()
        places = back.clamp(first, self.max_distance) - first
        return table.index_select(1, places.flatten()).view(-1, *back.shape)

    def bucket(self, back: Tensor) -> Tensor:
        """The bucket of each key that lies `back` tokens before its query (after it where negative)."""
        first = 0 if self.causal else (back < 0) * self.one_way
        far = back.clamp(min=0) if self.causal else back.abs()
        steps, wider = math.log(self.max_distance / self.exact), self.one_way - self.exact
        later = self.exact + ((far.clamp(min=1) / self.exact).log() / steps * wider).long()
        return first + torch.where(far < self.exact, far, later.clamp(max=self.one_way - 1))


def make_position(
    spec: architecture.Position, width: int, context: int, attention: architecture.Attention, causal: bool = True
) -> NoPosition:
    """The part named by `spec.kind`, for layers with such `attention`."""
    match spec.kind:
        case "rotary":
            return Rotary(attention.head_width, spec)
        case "sinusoidal":
            return Sinusoidal(spec)
        case "learned":
            return Learned(width, context)
        case "relative":
            return Relative(attention.heads, spec, causal)
        case _:
            return NoPosition()
