"""The matrix products of decoding: a few rows times a large matrix that has to come from memory for every token.

PyTorch hands float32 products to the BLAS library it was built with. oneDNN, which it carries too, reads the same
matrix in place and up to three times as fast on some processors, and on others not, so it is tried out and chosen
when an engine opens. Both round differently in the last bits and agree to about 1e-6 of the largest number.
"""

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openbook.model_file.int8 import Int8Weight

Model = TypeVar("Model", bound=nn.Module)

WORTHWHILE = 1 << 19
"""Multiplications from which a product outweighs the 15 µs that each call of oneDNN costs."""

FEW_ROWS = 16
"""Rows up to which what is tried out with one row holds: of more, the plain product is as fast or faster."""

CLEARLY = 0.8
"""Share of the plain product's time below which oneDNN is faster by more than trials differ."""

TRIALS = 5


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias by oneDNN: x (…, in), weight (out, in) → (…, out). PyTorch has no public name for it."""
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


class OneDNNWeight(Tensor):
    """A weight of which `F.linear` is worked out by oneDNN wherever that is worth its while. Shares its storage."""

    plain: Tensor

    @classmethod
    def wrap(cls, weight: Tensor) -> "OneDNNWeight":
        plain = weight.detach()
        wrapped = plain.as_subclass(cls)
        wrapped.plain = plain
        return wrapped

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        named: dict[str, Any] | None = None,
    ) -> Any:
        if function is F.linear and not named:
            x, weight, *bias = arguments
            few = x.numel() <= FEW_ROWS * x.shape[-1]
            if few and x.numel() * weight.plain.shape[0] >= WORTHWHILE:
                return onednn_linear(x, weight.plain, *bias)
        with torch._C.DisableTorchFunctionSubclass():
            return function(*arguments, **(named or {}))


def prepared(model: Model) -> Model:
    """The same model for decoding: its own modules in evaluation mode, all parameters shared, products at their best.

    Costs no memory, and the time of a dozen products of the largest matrix.
    """
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    view = copy.deepcopy(model, shared).eval()
    matrices = {
        id(weight): weight for weight in model.parameters() if weight.dim() == 2 and not isinstance(weight, Int8Weight)
    }
    largest = max(matrices.values(), key=Tensor.numel, default=None)
    if largest is None or not onednn_is_faster(largest):
        return view
    wrapped = {key: OneDNNWeight.wrap(weight) for key, weight in matrices.items() if weight.dtype == torch.float32}
    for module in view.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if id(weight) in wrapped:
                delattr(module, name)
                setattr(module, name, wrapped[id(weight)])
    return view


@torch.inference_mode()
def onednn_is_faster(weight: Tensor) -> bool:
    """Whether one row times this matrix (out, in) goes faster by oneDNN on this machine, and comes out the same."""
    weight = weight.detach()
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or weight.numel() < WORTHWHILE:
        return False
    row = torch.ones(1, weight.shape[1])
    try:
        same = torch.allclose(onednn_linear(row, weight), F.linear(row, weight), rtol=1e-3, atol=1e-3)
    except (AttributeError, RuntimeError):  # a build without oneDNN
        return False
    return same and _seconds(onednn_linear, row, weight) < CLEARLY * _seconds(F.linear, row, weight)


def _seconds(product: Callable[[Tensor, Tensor], Tensor], row: Tensor, weight: Tensor) -> float:
    """The shortest of a few trials: other work on the machine can only add to it."""
    times = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        product(row, weight)
        times.append(time.perf_counter() - start)
    return min(times)
