"""RoPE scaling: rotary frequencies lowered for contexts longer than in training; see `architecture.RopeScaling`.

NumPy alone, since engines without PyTorch rotate too.
"""

import math

import numpy as np
from numpy.typing import NDArray

from openbook.transformer import architecture

Frequencies = NDArray[np.float32]


def frequencies(width: int, base: float) -> Frequencies:
    """base^(−2i/width) for i < width/2, in float32."""
    exponent = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    found: Frequencies = np.float32(1.0) / np.float32(base) ** exponent
    return found


def scaled_frequencies(width: int, base: float, spec: architecture.RopeScaling | None) -> Frequencies:
    """The angle by which each pair rotates from one position to the next, (K/2).

    Not for the `dynamic` kind, whose frequencies follow from the length of the sequence.
    """
    frequency = frequencies(width, base)
    if spec is None:
        return frequency
    kept = unscaled_share(frequency, width, base, spec)
    return (frequency * kept + frequency / np.float32(spec.factor) * (1 - kept)).astype(np.float32)


def unscaled_share(frequency: Frequencies, width: int, base: float, spec: architecture.RopeScaling) -> Frequencies:
    """How much of its own frequency each pair keeps, from 1 (all) to 0 (divided by the factor): (K/2) → (K/2)."""
    if spec.kind == "frequency_bands":
        rotations = spec.original_context * frequency / np.float32(2 * math.pi)
        return ((rotations - spec.low_frequency) / (spec.high_frequency - spec.low_frequency)).clip(0, 1)
    if spec.kind == "yarn":
        first, last = ramp(width, base, spec)
        pair = np.arange(width // 2, dtype=np.float32)
        return 1 - ((pair - first) / (last - first)).clip(0, 1)
    return np.zeros_like(frequency)


def ramp(width: int, base: float, spec: architecture.RopeScaling) -> tuple[float, float]:
    """The pairs between which `yarn` goes from unscaled to scaled frequencies   (Peng et al. 2023, eq. 17–18)."""

    def pair_at(rotations: float) -> float:
        return width * math.log(spec.original_context / (rotations * 2 * math.pi)) / (2 * math.log(base))

    first, last = pair_at(spec.high_frequency), pair_at(spec.low_frequency)
    if spec.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    return first, last if last != first else first + 0.001
