"""RoPE scaling: rotary frequencies lowered for contexts longer than in training; see `architecture.RopeScaling`."""

import math

import torch
from torch import Tensor

from openbook.transformer import architecture


def frequencies(width: int, base: float | Tensor, device: torch.device) -> Tensor:
    """base^(−2i/width) for i < width/2: base a number or (…, 1) → (…, width/2), in float32."""
    exponent = torch.arange(0, width, 2, device=device, dtype=torch.float32) / width
    return 1.0 / base**exponent


def scaled_frequencies(positions: Tensor, width: int, base: float, spec: architecture.RopeScaling) -> Tensor:
    """The angle by which each pair rotates from one position to the next.

    Only the `dynamic` kind reads the positions (B or 1, T): it scales by each row's own length, so that an answer does
    not depend on the rest of the batch. Keys in a cache keep the angles they were given.

    Returns:
        (B or 1, 1, K/2), in float32.
    """
    if spec.kind == "dynamic":
        length = (positions.amax(-1, keepdim=True) + 1).clamp(min=spec.original_context)
        grown = base * (spec.factor * length / spec.original_context - spec.factor + 1) ** (width / (width - 2))
        return frequencies(width, grown, positions.device)[:, None, :]
    frequency = frequencies(width, base, positions.device)
    kept = unscaled_share(frequency, width, base, spec)
    return (frequency * kept + frequency / spec.factor * (1 - kept))[None, None, :]


def unscaled_share(frequency: Tensor, width: int, base: float, spec: architecture.RopeScaling) -> Tensor:
    """How much of its own frequency each pair keeps, from 1 (all) to 0 (divided by the factor): (K/2) → (K/2)."""
    if spec.kind == "frequency_bands":
        rotations = spec.original_context * frequency / (2 * math.pi)
        return ((rotations - spec.low_frequency) / (spec.high_frequency - spec.low_frequency)).clamp(0, 1)
    if spec.kind == "yarn":
        first, last = ramp(width, base, spec)
        pair = torch.arange(width // 2, device=frequency.device, dtype=torch.float32)
        return 1 - ((pair - first) / (last - first)).clamp(0, 1)
    return torch.zeros_like(frequency)


def ramp(width: int, base: float, spec: architecture.RopeScaling) -> tuple[float, float]:
    """The pairs between which `yarn` goes from unscaled to scaled frequencies   (Peng et al. 2023, eq. 17–18)."""

    def pair_at(rotations: float) -> float:
        return width * math.log(spec.original_context / (rotations * 2 * math.pi)) / (2 * math.log(base))

    first, last = pair_at(spec.high_frequency), pair_at(spec.low_frequency)
    if spec.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    return first, last if last != first else first + 0.001
