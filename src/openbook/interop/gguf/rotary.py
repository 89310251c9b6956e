"""Rotary positions in GGUF files: the order of rotated pairs, and frequencies divided by `rope_freqs`."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from openbook.errors import OpenbookError
from openbook.interop.gguf.weights import TensorTransform

LLAMA3_SCALING = [(factor, 1.0, 4.0, 8192) for factor in (8.0, 32.0)]
"""The scalings in use: factor, low and high frequency factor, original context."""


def half_split(heads: int) -> TensorTransform:
    """Rows of each head's queries or keys: from pairs side by side (x0 y0 x1 y1 …) to halves (x0 x1 … y0 y1 …)."""

    def transform(tensor: torch.Tensor) -> torch.Tensor:
        width = tensor.shape[0] // heads
        return tensor.view(heads, width // 2, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)

    return transform


def interleaved(heads: int) -> TensorTransform:
    """The inverse of `half_split`."""

    def transform(tensor: torch.Tensor) -> torch.Tensor:
        width = tensor.shape[0] // heads
        return tensor.view(heads, 2, width // 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)

    return transform


def rope_scaling_of(divisors: torch.Tensor, base: float, width: int) -> dict[str, Any]:
    """The `rope_scaling` of a config.json that divides frequencies by these numbers, (width / 2).

    Raises:
        OpenbookError: it is none of `LLAMA3_SCALING`.
    """
    for factor, low, high, original in LLAMA3_SCALING:
        scaling = {
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": original,
        }
        expected = frequency_divisors(scaling, base, width)
        if expected is not None and expected.shape == divisors.shape and torch.allclose(expected, divisors, rtol=1e-4):
            return scaling
    raise OpenbookError("tensor rope_freqs.weight: scales positions in a way that is not known; it changes the result")


def frequency_divisors(rope_scaling: Mapping[str, Any] | None, base: float, width: int) -> torch.Tensor | None:
    """What `rope_freqs` holds for this `rope_scaling`, (width / 2); None for a scaling that it is not used for.

    1 where waves are short, `factor` where they are long, and a mixture in between.
    """
    if rope_scaling is None or rope_scaling.get("rope_type") != "llama3":
        return None
    low, high = rope_scaling["low_freq_factor"], rope_scaling["high_freq_factor"]
    original = rope_scaling["original_max_position_embeddings"]
    wavelengths = 2 * math.pi * base ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    smooth = ((original / wavelengths - low) / (high - low)).clamp(0, 1)
    return (1 / ((1 - smooth) / rope_scaling["factor"] + smooth)).float()
