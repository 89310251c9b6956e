"""LayerNorm, RMSNorm and none, which all take and return (…, D)."""

import torch
from torch import Tensor, nn

from openbook.trace import note
from openbook.transformer import architecture, fused
from openbook.transformer.fused import at_least_float32


@fused.accelerated_by(fused.rms_norm)
def rms_norm(x: Tensor, scale: Tensor, epsilon: float) -> Tensor:
    """x / sqrt(mean(x²) + ε) · scale   (Zhang & Sennrich 2019, eq. 4)."""
    wide = at_least_float32(x)
    mean_square = note("mean_square", wide.square().mean(-1, keepdim=True))
    return note("output", (wide / torch.sqrt(mean_square + epsilon) * scale).to(x.dtype))


@fused.accelerated_by(fused.layer_norm)
def layer_norm(x: Tensor, scale: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
    """(x − mean) / sqrt(variance + ε) · scale + bias   (Ba et al. 2016, eq. 4)."""
    wide = at_least_float32(x)
    mean = note("mean", wide.mean(-1, keepdim=True))
    variance = note("variance", (wide - mean).square().mean(-1, keepdim=True))
    normed = (wide - mean) * torch.rsqrt(variance + epsilon) * scale
    return note("output", (normed if bias is None else normed + bias).to(x.dtype))


class Norm(nn.Module):
    """What norms share: a trained weight for each number of a vector, with the scale `offset` + weight, and a bias."""

    def __init__(self, width: int, spec: architecture.Norm) -> None:
        super().__init__()
        self.epsilon, self.offset = spec.epsilon, spec.offset
        self.weight = nn.Parameter(torch.full((width,), 1.0 - spec.offset))
        self.bias = nn.Parameter(torch.zeros(width)) if spec.bias else None

    @property
    def scale(self) -> Tensor:
        """(D,)."""
        return self.weight + self.offset if self.offset else self.weight


class RMSNorm(Norm):
    """See `rms_norm`."""

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.scale, self.epsilon)


class LayerNorm(Norm):
    """See `layer_norm`."""

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.scale, self.bias, self.epsilon)


def make_norm(width: int, spec: architecture.Norm) -> nn.Module:
    """The norm that `spec.kind` names."""
    return {"rms": RMSNorm, "layer": LayerNorm, "none": nn.Identity}[spec.kind](width, spec)
