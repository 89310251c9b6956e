"""Positions: sinusoidal, learned, rotary, relative or none. Each part overrides what it needs of `NoPosition`.

Positions are whole numbers from 0; a negative one marks padding.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from openbook.trace import note
from openbook.transformer import architecture, fused
from openbook.transformer.rope_scaling import scaled_frequencies

Angles = tuple[Tensor, Tensor]
"""Cosines and sines, each (B, T, 1, K/2), computed once for all layers of a forward pass."""


class NoPosition(nn.Module):
    """Adds nothing: order shows only through the causal mask."""

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Add the position to embeddings: x (B, T, D), positions (B or 1, T) → (B, T, D)."""
        return x

    def forward(self, positions: Tensor) -> Angles | None:
        """The angles by which queries and keys at these positions (B or 1, T) are rotated."""
        return None

    def bias(self, query: Tensor, key: Tensor) -> Tensor | None:
        """What is added to the scores: query (B or 1, T), key (B or 1, S) → (B or 1, H, T, S)."""
        return None


class Rotary(NoPosition):
    """Rotates the pair (i, i + K/2) of queries and keys by position · base^(−2i/K)   (Su et al. 2021, section 3.2)."""

    def __init__(self, head_width: int, spec: architecture.Position) -> None:
        super().__init__()
        self.head_width, self.base, self.rope_scaling = head_width, spec.base, spec.rope_scaling

    def forward(self, positions: Tensor) -> Angles:
        if self.rope_scaling is None:
            angle = note("angle", rotary_angles(positions, self.head_width, self.base)[..., None, :])
            return note("cosine", angle.cos()), note("sine", angle.sin())
        frequency = note("frequency", rotary_frequencies(positions, self.head_width, self.base, self.rope_scaling))
        angle = note("angle", (positions[..., None] * frequency)[..., None, :])
        factor = self.rope_scaling.attention_factor
        return note("cosine", angle.cos() * factor), note("sine", angle.sin() * factor)


def rotary_frequencies(positions: Tensor, width: int, base: float, spec: architecture.RopeScaling) -> Tensor:
    """The angle by which each pair rotates from one position to the next, scaled.

    Only the `dynamic` kind reads the positions (B or 1, T): it scales by each row's own length, so that an answer does
    not depend on the rest of the batch. Keys in a cache keep the angles they were given.

    Returns:
        (B or 1, 1, K/2), in float32.
    """
    if spec.kind == "dynamic":
        length = (positions.amax(-1, keepdim=True) + 1).clamp(min=spec.original_context)
        grown = base * (spec.factor * length / spec.original_context - spec.factor + 1) ** (width / (width - 2))
        return frequencies(width, grown, positions.device)[:, None, :]
    return torch.from_numpy(scaled_frequencies(width, base, spec)).to(positions.device)[None, None, :]


def frequencies(width: int, base: float | Tensor, device: torch.device) -> Tensor:
    """base^(−2i/width) for i < width/2: base a number or (…, 1) → (…, width/2), in float32."""
    exponent = torch.arange(0, width, 2, device=device, dtype=torch.float32) / width
    return 1.0 / base**exponent


def rotary_angles(positions: Tensor, width: int, base: float) -> Tensor:
    """position · base^(−2i/width) for i < width/2: positions (B, T) → (B, T, width/2)."""
    return positions[..., None] * frequencies(width, base, positions.device)


def rotate(x: Tensor, angles: Angles | None) -> Tensor:
    """Rotate queries or keys (B, T, H, K) by their angles, if there are any."""
    if angles is None:
        return x
    cosine, sine = angles
    return rotate_pairs(x, cosine.to(x.dtype), sine.to(x.dtype))


@fused.accelerated_by(fused.rotate_pairs)
def rotate_pairs(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """The pairs (x₁, x₂) at (i, i + K/2) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin): x (B, T, H, K), rest (B, T, 1, K/2)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


class Sinusoidal(NoPosition):
    """Adds sin(angle) at dimension 2i and cos(angle) at 2i + 1   (Vaswani et al. 2017, section 3.5).

    With `concatenated` sin(angle) is at dimension i and cos(angle) at i + D/2.
    """

    def __init__(self, spec: architecture.Position) -> None:
        super().__init__()
        self.base, self.concatenated, self.offset = spec.base, spec.concatenated, spec.offset

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        angle = note("angle", rotary_angles(positions.clamp(min=0) + self.offset, x.shape[-1], self.base))
        pairs = torch.stack((angle.sin(), angle.cos()), dim=-2 if self.concatenated else -1)
        return x + note("position_embedding", pairs.flatten(-2).to(x.dtype))


class Learned(NoPosition):
    """Adds a trained row for each of the first `context` positions."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(context, width))

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        return x + note("position_embedding", self.weight[positions.clamp(min=0)])


class Relative(NoPosition):
    """Adds to the scores a trained number for the distance from query to key   (Raffel et al. 2020, section 2.1).

    Distances fall into buckets: one each for short distances, then ever wider ones up to `max_distance`. In an encoder
    half of the buckets are for keys before the query, and half for keys after it.
    """

    def __init__(self, heads: int, spec: architecture.Position, causal: bool) -> None:
        super().__init__()
        self.causal, self.max_distance = causal, spec.max_distance
        self.buckets_per_side = spec.buckets if causal else spec.buckets // 2
        self.exact = self.buckets_per_side // 2  # distances below this have a bucket each
        self.weight = nn.Parameter(torch.zeros(spec.buckets, heads))

    def bias(self, query: Tensor, key: Tensor) -> Tensor:
        distance = query[..., :, None] - key[..., None, :]
        return note("bias", relative_bias(distance, self.weight, self.bucket, self.max_distance))

    def bucket(self, distance: Tensor) -> Tensor:
        """The bucket of keys that stand `distance` tokens before their query (after it where negative)."""
        later = 0 if self.causal else (distance < 0) * self.buckets_per_side
        far = distance.clamp(min=0) if self.causal else distance.abs()
        span, wide = math.log(self.max_distance / self.exact), self.buckets_per_side - self.exact
        shared = self.exact + ((far.clamp(min=1) / self.exact).log() / span * wide).long()
        return later + torch.where(far < self.exact, far, shared.clamp(max=self.buckets_per_side - 1))


@fused.accelerated_by(fused.relative_bias)
def relative_bias(distance: Tensor, weight: Tensor, bucket: Callable[[Tensor], Tensor], max_distance: int) -> Tensor:
    """weight (buckets, H) at the bucket of each distance (B, T, S), the same from max_distance on → (B, H, T, S)."""
    buckets = note("bucket", bucket(distance.clamp(-max_distance, max_distance)))
    return weight[buckets].movedim(-1, -3).contiguous()


def make_position(
    spec: architecture.Position, width: int, context: int, attention: architecture.Attention, causal: bool = True
) -> NoPosition:
    """The part that `spec.kind` names, for layers with such `attention`."""
    parts: dict[str, Callable[[], NoPosition]] = {
        "rotary": lambda: Rotary(attention.head_width, spec),
        "sinusoidal": lambda: Sinusoidal(spec),
        "learned": lambda: Learned(width, context),
        "relative": lambda: Relative(attention.heads, spec, causal),
        "none": NoPosition,
    }
    return parts[spec.kind]()
