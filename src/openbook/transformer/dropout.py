"""Dropout: forget a random share of the numbers while learning (Srivastava et al. 2014)."""

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Sets each number to zero with probability `share` and divides the rest by 1 − share; only while training.

    One random byte decides on one number, so the share is rounded to 1/256, and at most 255/256. Eight of them come
    from each draw of the generator, which on a CPU draws one number at a time: `torch.nn.Dropout` takes a quarter of a
    small model's step.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.dropped = min(255, round(share * 256))
        self.generator: torch.Generator | None = None  # None: the one that all share

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: any → the same."""
        if not self.training or self.dropped == 0:
            return x
        draws = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
        random_bytes = draws.random_(torch.iinfo(torch.int64).min, None, generator=self.generator).view(torch.uint8)
        kept = random_bytes[: x.numel()].view(x.shape) >= self.dropped
        return x * (kept * (256 / (256 - self.dropped))).to(x.dtype)
