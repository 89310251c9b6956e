"""Dropout: set a random share of the numbers to zero in training (Srivastava et al. 2014)."""

import torch
from torch import Tensor, nn

from openbook.transformer import fused


class Dropout(nn.Module):
    """Sets each number to zero with probability p and divides the rest by 1 − p; in training only.

    One random byte decides on each number, so p is rounded to 1/256, and is at most 255/256.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.threshold = min(255, round(p * 256))
        self.generator: torch.Generator | None = None  # None: PyTorch's own

    def forward(self, x: Tensor) -> Tensor:
        """Any shape → the same."""
        if not self.training or self.threshold == 0:
            return x
        keep = fused.random_bytes(x.shape, x.device, self.generator) >= self.threshold
        return x * (keep * (256 / (256 - self.threshold))).to(x.dtype)
