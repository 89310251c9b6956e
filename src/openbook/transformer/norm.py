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

    With r = 1 / sqrt(mean(x²) + ε) and output = x · r · scale:
    ∂scale = Σ r · ∂output · x over the tokens, and
    ∂x = r · ∂output · scale − x · r³ · mean(∂output · scale · x).
    The sums are products with a vector, and one tensor of the size of x holds all else in turn.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, epsilon: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
        root = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_().to(x.dtype)
        ctx.save_for_backward(x, root, scale)
        return (x * root).mul_(scale.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, root, scale = ctx.saved_tensors
        of_output, narrow = gradients[0], scale.to(x.dtype)
        held = of_output * x
        with torch.autocast(x.device.type, enabled=False):
            wide = _wide(held).flatten(0, -2)
            of_scale = (_wide(root).flatten() @ wide).to(scale.dtype)
            along = (wide @ _wide(scale)).view_as(root).div_(x.shape[-1]).mul_(_wide(root).pow(3)).to(x.dtype)
        of_x = torch.mul(of_output, narrow, out=held).mul_(root).addcmul_(x, along, value=-1)
        return of_x, of_scale, None


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
        if not tracing() and not torch.compiler.is_exporting():
            return F.rms_norm(x, scale.shape, scale.to(x.dtype), self.epsilon)
        wide = _wide(x)
        mean_square = note("mean_square", wide.square().mean(-1, keepdim=True))
        # The steps as they stand here are what other engines know how to fuse.
        return note("output", (wide / torch.sqrt(mean_square + self.epsilon) * scale).to(x.dtype))


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
