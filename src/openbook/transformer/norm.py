"""LayerNorm, RMSNorm and none: three parts with one face."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openbook.trace import note, tracing
from openbook.transformer import architecture


def _wide(x: Tensor) -> Tensor:
    """In float32 at least, as the fused kernels work inside: the square of a float16 soon overflows."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _LearningRMSNorm(torch.autograd.Function):
    """RMSNorm with its gradient written out: PyTorch has no fused one for CPUs, and its own takes five times as long.

    With n = x · r, r = 1 / sqrt(mean(x²) + ε) and output = n · scale:
    ∂x = r · (g − n · mean(g · n)) where g = ∂output · scale, and ∂scale = Σ ∂output · n.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, epsilon: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
        root = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_().to(x.dtype)
        normed = x * root
        ctx.save_for_backward(normed, root, scale)
        return normed * scale.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, root, scale = ctx.saved_tensors
        of_output = gradients[0]
        of_scale = (of_output * normed).flatten(0, -2).sum(0, dtype=scale.dtype)
        of_normed = of_output * scale.to(of_output.dtype)
        along = torch.linalg.vecdot(of_normed, normed).unsqueeze(-1).div_(normed.shape[-1])
        return torch.addcmul(of_normed, normed, along, value=-1).mul_(root), of_scale, None


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) · (offset + weight)   (Zhang & Sennrich 2019, eq. 4). Shapes: (…, D) → (…, D)."""

    def __init__(self, width: int, spec: architecture.Norm) -> None:
        super().__init__()
        self.epsilon, self.offset = spec.epsilon, spec.offset
        self.weight = nn.Parameter(torch.full((width,), 1.0 - spec.offset))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight + self.offset if self.offset else self.weight
        if torch.is_grad_enabled() and not tracing():
            return _LearningRMSNorm.apply(x, scale, self.epsilon)  # type: ignore[no-untyped-call]
        if not tracing():
            return F.rms_norm(x, scale.shape, scale.to(x.dtype), self.epsilon)
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
