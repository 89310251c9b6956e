"""Rotary frequencies slowed down for contexts longer than those of the training: see `architecture.RopeScaling`."""

import math

import torch
from torch import Tensor

from openbook.transformer import architecture


def scaled_frequencies(positions: Tensor, width: int, base: float, rope_scaling: architecture.RopeScaling) -> Tensor:
    """The angle that each pair turns by from one position to the next.

    Only the `dynamic` kind looks at the positions (B or 1, T): each row's own length, so that an answer does not depend
    on what else is in the batch. What is in a cache keeps the angles that it was given.

    Returns:
        (B or 1, 1, K/2), in float32.
    """
    exponent = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width
    if rope_scaling.kind == "dynamic":
        length = (positions.amax(-1, keepdim=True) + 1).clamp(min=rope_scaling.original_context)
        grown = base * (rope_scaling.factor * length / rope_scaling.original_context - rope_scaling.factor + 1) ** (
            width / (width - 2)
        )
        return (1.0 / grown**exponent)[:, None, :]
    frequency = 1.0 / base**exponent
    kept = kept_share(frequency, width, base, rope_scaling)
    return (frequency * kept + frequency / rope_scaling.factor * (1 - kept))[None, None, :]


def kept_share(frequency: Tensor, width: int, base: float, rope_scaling: architecture.RopeScaling) -> Tensor:
    """How much of its own speed each pair keeps, from 1 (all) to 0 (it is slowed by the factor). (K/2) → (K/2)."""
    if rope_scaling.kind == "frequency_bands":
        turns = rope_scaling.original_context * frequency / (2 * math.pi)
        return (
            (turns - rope_scaling.low_frequency) / (rope_scaling.high_frequency - rope_scaling.low_frequency)
        ).clamp(0, 1)
    if rope_scaling.kind == "yarn":
        first, last = ramp(width, base, rope_scaling)
        pair = torch.arange(width // 2, device=frequency.device, dtype=torch.float32)
        return 1 - ((pair - first) / (last - first)).clamp(0, 1)
    return torch.zeros_like(frequency)


def ramp(width: int, base: float, rope_scaling: architecture.RopeScaling) -> tuple[float, float]:
    """The pairs between which `yarn` goes over from the own speed to the slowed one   (Peng et al. 2023, eq. 17–18)."""

    def pair_turning(turns: float) -> float:
        return width * math.log(rope_scaling.original_context / (turns * 2 * math.pi)) / (2 * math.log(base))

    first, last = pair_turning(rope_scaling.high_frequency), pair_turning(rope_scaling.low_frequency)
    if rope_scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    return first, last if last != first else first + 0.001
