"""Fast drop-ins for the formulas beside this file: kernels, hand-written gradients, and when each one serves.

A formula names its drop-in with `@accelerated_by`. The drop-in takes the same arguments, and returns the same numbers
up to rounding, or None where the formula itself is to run. A trace always runs the formula.
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from openbook.trace import tracing
from openbook.transformer import architecture
from openbook.transformer.mask import Mask

P = ParamSpec("P")


def accelerated_by(drop_in: Callable[P, Tensor | None]) -> Callable[[Callable[P, Tensor]], Callable[P, Tensor]]:
    """Decorates a formula: `drop_in` replaces it outside a trace, except where it returns None.

    The formula alone stays at hand as `__wrapped__`.
    """

    def decorate(formula: Callable[P, Tensor]) -> Callable[P, Tensor]:
        @wraps(formula)
        def run(*args: P.args, **kwargs: P.kwargs) -> Tensor:
            result = None if tracing() else drop_in(*args, **kwargs)
            return formula(*args, **kwargs) if result is None else result

        return run

    return decorate


# Attention: PyTorch's fused kernel, which never holds all scores at once.

SHORT_QUERY, SHORT_KEY, LONGEST_BFLOAT16 = 8, 128, 512
"""On a CPU the formula takes half as long as the kernel for 1 query, as long for 5; a fifth longer for 512 keys.

In bfloat16 training it is faster up to 512 keys.
"""


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask, spec: architecture.Attention, sinks: Tensor | None = None
) -> Tensor | None:
    """See `attention.attention`. There is no kernel for soft caps, sinks, or attention without softmax."""
    fusable = spec.attention_softcap is None and sinks is None and spec.attention_function == "softmax"
    if not fusable or _formula_is_faster(query, key):
        return None
    scale, grouped = spec.score_scale, spec.heads != spec.key_value_heads
    allowed = mask.additive
    if allowed is None and mask.allowed is not None and not mask.is_causal:
        allowed = mask.allowed[:, None]
    if torch.compiler.is_exporting():
        # ONNX Runtime has no kernel for a scaled product of a single query, and wants a mask row for each query.
        query, scale = query * scale, 1.0
        if allowed is not None and allowed.shape[2] != query.shape[2]:
            allowed = allowed.expand(-1, -1, query.shape[2], -1)
    return F.scaled_dot_product_attention(
        query, key, value, allowed, is_causal=mask.is_causal, scale=scale, enable_gqa=grouped
    )


def _formula_is_faster(query: Tensor, key: Tensor) -> bool:
    """On a CPU: in bfloat16 training, and for few queries and keys that no heads share. Never in an exported graph."""
    if not query.is_cpu or torch.compiler.is_exporting():
        return False
    if query.requires_grad:
        return query.dtype == torch.bfloat16 and key.shape[2] <= LONGEST_BFLOAT16
    short = query.shape[2] <= SHORT_QUERY and key.shape[2] <= SHORT_KEY
    return short and query.shape[1] == key.shape[1]


# Norms.


def at_least_float32(x: Tensor) -> Tensor:
    """The precision in which norms are computed: the square of a float16 soon overflows."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def layer_norm(x: Tensor, scale: Tensor, bias: Tensor | None, epsilon: float) -> Tensor | None:
    """See `norm.layer_norm`."""
    return F.layer_norm(x, scale.shape, scale, bias, epsilon)


def rms_norm(x: Tensor, scale: Tensor, epsilon: float) -> Tensor | None:
    """See `norm.rms_norm`. In an exported graph the formula stands as it is: ONNX Runtime knows how to fuse it."""
    if torch.compiler.is_exporting():
        return None
    if torch.is_grad_enabled():
        return _RMSNorm.apply(x, scale, epsilon)  # type: ignore[no-untyped-call]
    return F.rms_norm(x, scale.shape, scale.to(x.dtype), epsilon)


class _RMSNorm(torch.autograd.Function):
    """RMSNorm with its gradient written out: on a CPU PyTorch's own takes five times as long.

    With r = 1 / sqrt(mean(x²) + ε) and output = x · r · scale:
    ∂scale = Σ r · ∂output · x over the tokens, and
    ∂x = r · ∂output · scale − x · r³ · mean(∂output · scale · x).
    The sums are products with a vector, and one tensor of the size of x holds everything else in turn.
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
            wide = at_least_float32(held).flatten(0, -2)
            of_scale = (at_least_float32(root).flatten() @ wide).to(scale.dtype)
            along = (wide @ at_least_float32(scale)).view_as(root).div_(x.shape[-1])
            along = along.mul_(at_least_float32(root).pow(3)).to(x.dtype)
        of_x = torch.mul(of_output, narrow, out=held).mul_(root).addcmul_(x, along, value=-1)
        return of_x, of_scale, None


# Rotary positions.


def rotate_pairs(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor | None:
    """See `position.rotate_pairs`."""
    return _Rotation.apply(x, cosine, sine) if torch.is_grad_enabled() else None  # type: ignore[no-untyped-call]


class _Rotation(torch.autograd.Function):
    """The rotation in half as many passes over memory; its gradient is rotated back by the same angle."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _rotate_in_place(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _rotate_in_place(gradients[0], cosine, -sine), None, None


def _rotate_in_place(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    # Repeated for every head, the angles are read in long stretches: a third of the time.
    heads = x.shape[2]
    rotated = x * torch.cat((cosine, cosine), dim=-1).repeat(1, 1, heads, 1)
    sine = sine.repeat(1, 1, heads, 1)
    (first, second), (new_first, new_second) = x.chunk(2, dim=-1), rotated.chunk(2, dim=-1)
    new_first.addcmul_(second, sine, value=-1)
    new_second.addcmul_(first, sine)
    return rotated


# Relative positions.

LARGEST_TABLE = 1024
"""Distances up to which a table of them is small beside what it saves."""


def relative_bias(
    distance: Tensor, weight: Tensor, bucket: Callable[[Tensor], Tensor], max_distance: int
) -> Tensor | None:
    """See `position.relative_bias`. The buckets of a few distances are looked up once, not once for each pair.

    The result lies in memory as attention reads it: a quarter of the time of a small layer's attention in training.
    """
    if max_distance > LARGEST_TABLE:
        return None
    table = weight[bucket(torch.arange(-max_distance, max_distance + 1, device=distance.device))].T.contiguous()
    column = distance.clamp(-max_distance, max_distance) + max_distance
    return table.index_select(1, column.flatten()).view(-1, *distance.shape).movedim(0, -3).contiguous()


# Activations.

GELU_A = 2 * math.sqrt(2 / math.pi)
GELU_B = 0.044715 * GELU_A


def gelu_tanh(x: Tensor) -> Tensor | None:
    """See `activation.gelu_tanh`. Exported graphs take PyTorch's operator, for which ONNX Runtime has a kernel."""
    if x.is_cpu and x.dtype in (torch.float32, torch.float64) and not torch.compiler.is_exporting():
        return _Gelu.apply(x)  # type: ignore[no-untyped-call]
    return None


class _Gelu(torch.autograd.Function):
    """`gelu_tanh` as x · σ(u), since (1 + tanh(u/2)) / 2 = σ(u): on a CPU tanh takes three times as long as σ.

    With u = x · (a + b · x²), a and b as above:
    ∂x = ∂output · (σ + x · σ · (1 − σ) · (a + 3b · x²)).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        sigma = x.square().mul_(GELU_B).add_(GELU_A).mul_(x).sigmoid_()
        ctx.save_for_backward(x, sigma)
        return x * sigma

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x, sigma = ctx.saved_tensors
        slope = x.square().mul_(3 * GELU_B).add_(GELU_A).mul_(x).mul_(1 - sigma).add_(1).mul_(sigma)
        return slope.mul_(gradients[0])


# Training.


def random_bytes(shape: torch.Size, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Uniform random bytes, eight from each draw: on a CPU the generator draws one number at a time.

    `torch.nn.Dropout`, with a draw for each number, takes a quarter of a small model's training step.
    """
    draws = torch.empty((shape.numel() + 7) // 8, dtype=torch.int64, device=device)
    draws.random_(torch.iinfo(torch.int64).min, None, generator=generator)
    return draws.view(torch.uint8)[: shape.numel()].view(shape)


def checkpointed(block: nn.Module, *inputs: object) -> Tensor:
    """`block(*inputs)`, computed again for the gradient from its inputs alone, to save memory (Chen et al. 2016)."""
    keep = tracing() or not torch.is_grad_enabled()
    return block(*inputs) if keep else checkpoint(block, *inputs, use_reentrant=False)
