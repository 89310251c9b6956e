"""MXFP4: blocks of 32 numbers of 4 bits that share one power of two (OCP Microscaling Formats v1.0, section 5.3)."""

import torch
from torch import Tensor

BLOCK = 32
"""Numbers that share a scale."""

_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""The value of each pattern of 4 bits: a sign, two bits of exponent, one of mantissa."""
_BIAS = 127


def dequantize_mxfp4(blocks: Tensor, scales: Tensor) -> Tensor:
    """The numbers of a 4-bit tensor: two in each byte, the lower half first, times a power of two for each block.

    Args:
        blocks: (…, n, 16) bytes.
        scales: (…, n) bytes, the exponents.

    Returns:
        (…, n · 32) in bfloat16, which holds every one of them exactly.
    """
    values = torch.tensor(_VALUES, dtype=torch.bfloat16)
    pairs = torch.stack((values[(blocks & 15).int()], values[(blocks >> 4).int()]), dim=-1).flatten(-2)
    exponents = scales.int() - _BIAS
    return torch.ldexp(pairs.float(), exponents[..., None]).to(torch.bfloat16).flatten(-2)
