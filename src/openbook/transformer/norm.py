"""LayerNorm, RMSNorm and none: three parts with one face."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openbook.trace import note, tracing
from openbook.transformer import architecture


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) · (offset + weight)   (Zhang & Sennrich 2019, eq. 4). Shapes: (…, D) → (…, D)."""

    def __init__(self, width: int, spec: architecture.Norm) -> None:
        super().__init__()
        self.epsilon, self.offset = spec.epsilon, spec.offset
        self.weight = nn.Parameter(torch.full((width,), 1.0 - spec.offset))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight + self.offset if self.offset else self.weight
        if not tracing():
            return F.rms_norm(x, scale.shape, scale, self.epsilon)
        mean_square = note("mean_square", x.square().mean(-1, keepdim=True))
        return note("output", x * torch.rsqrt(mean_square + self.epsilon) * scale)


class LayerNorm(nn.Module):
    """(x − mean) / sqrt(variance + ε) · (offset + weight) + bias   (Ba et al. 2016, eq. 4). Shapes: (…, D) → (…, D)."""

    def __init__(self, width: int, spec: architecture.Norm) -> None:
        super().__init__()
        self.epsilon, self.offset = spec.epsilon, spec.offset
        self.weight = nn.Parameter(torch.full((width,), 1.0 - spec.offset))
        self.bias = nn.Parameter(torch.zeros(width)) if spec.bias else None

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight + self.offset if self.offset else self.weight
        if not tracing():
            return F.layer_norm(x, scale.shape, scale, self.bias, self.epsilon)
        mean = note("mean", x.mean(-1, keepdim=True))
        variance = note("variance", (x - mean).square().mean(-1, keepdim=True))
        normed = (x - mean) * torch.rsqrt(variance + self.epsilon) * scale
        return note("output", normed if self.bias is None else normed + self.bias)


def make_norm(width: int, spec: architecture.Norm) -> nn.Module:
    """The part named by `spec.kind` for vectors of `width` numbers."""
    if spec.kind == "none":
        return nn.Identity()
    return {"rms": RMSNorm, "layer": LayerNorm}[spec.kind](width, spec)
