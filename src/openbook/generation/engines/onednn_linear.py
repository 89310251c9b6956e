"""Matrix products for decoding by oneDNN: a few rows times a large matrix that is read from memory for every token.

PyTorch uses the BLAS library it was built with for float32 products. oneDNN, which is built in too, reads the same
matrix up to three times as fast on some processors and slower on others, so an engine times both when it opens. They
round differently in the last bits and agree to about 1e-6 of the largest number.
"""

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openbook.model_file.quantized_weight import QuantizedWeight

Model = TypeVar("Model", bound=nn.Module)

MIN_MULTIPLICATIONS = 1 << 19
"""Smaller products take less time than the 15 µs that each call of oneDNN costs."""

MAX_ROWS = 16
"""With more rows, the plain product is as fast or faster."""

MAX_TIME_RATIO = 0.8
"""oneDNN is chosen if it takes at most this share of the plain product's time: more than trials differ."""

TRIALS = 5


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias by oneDNN: x (…, in), weight (out, in) → (…, out). PyTorch has no public name for it."""
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


class OneDNNWeight(Tensor):
    """A weight whose `F.linear` uses oneDNN where that is faster. It shares the storage of the plain weight."""

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
            few_rows = x.numel() <= MAX_ROWS * x.shape[-1]
            if few_rows and x.numel() * weight.plain.shape[0] >= MIN_MULTIPLICATIONS:
                return onednn_linear(x, weight.plain, *bias)
        with torch._C.DisableTorchFunctionSubclass():
            return function(*arguments, **(named or {}))


def with_onednn_linear(model: Model) -> Model:
    """A copy of the model for decoding: evaluation mode, shared parameters, oneDNN products where they are faster.

    It takes no memory, and the time of a dozen products with the largest matrix. A model that is split among processes
    is returned as it is.
    """
    if hasattr(model, "reshard"):
        return model
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    view = copy.deepcopy(model, shared).eval()
    matrices = {
        id(weight): weight
        for weight in model.parameters()
        if weight.dim() == 2 and not isinstance(weight, QuantizedWeight)
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
    """Whether oneDNN multiplies one row by this matrix (out, in) faster on this machine, with the same result."""
    weight = weight.detach()
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or weight.numel() < MIN_MULTIPLICATIONS:
        return False
    row = torch.ones(1, weight.shape[1])
    try:
        same = torch.allclose(onednn_linear(row, weight), F.linear(row, weight), rtol=1e-3, atol=1e-3)
    except (AttributeError, RuntimeError):  # a build without oneDNN
        return False
    return same and _seconds(onednn_linear, row, weight) < MAX_TIME_RATIO * _seconds(F.linear, row, weight)


def _seconds(product: Callable[[Tensor, Tensor], Tensor], row: Tensor, weight: Tensor) -> float:
    """The shortest of a few trials: other work on the machine can only lengthen them."""
    times = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        product(row, weight)
        times.append(time.perf_counter() - start)
    return min(times)
