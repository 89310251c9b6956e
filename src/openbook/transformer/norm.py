"""LayerNorm, RMSNorm and none: three parts with one face."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openbook.trace import note, tracing
from openbook.transformer import architecture


def _wide(x: Tensor) -> Tensor:
    """In float32 at least, as the fused kernels work inside: the square of a float16 soon overflows."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


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
        wide = _wide(x)
        mean_square = note("mean_square", wide.square().mean(-1, keepdim=True))
        return note("output", (wide * torch.rsqrt(mean_square + self.epsilon) * scale).to(x.dtype))


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
        wide = _wide(x)
        mean = note("mean", wide.mean(-1, keepdim=True))
        variance = note("variance", (wide - mean).square().mean(-1, keepdim=True))
        normed = (wide - mean) * torch.rsqrt(variance + self.epsilon) * scale
        return note("output", (normed if self.bias is None else normed + self.bias).to(x.dtype))


def make_norm(width: int, spec: architecture.Norm) -> nn.Module:
    """The part named by `spec.kind` for vectors of `width` numbers."""
    if spec.kind == "none":
        return nn.Identity()
    return {"rms": RMSNorm, "layer": LayerNorm}[spec.kind](width, spec)
