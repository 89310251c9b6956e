"""Int8 matrices with one float32 scale for each row: weight[o, i] = scale[o] · int_data[o, i].

`Int8Weight` takes a quarter of the memory and acts as the float32 matrix in products, look-ups and everything else. It
cannot be changed: to train, call `dequantize`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map_only

LARGEST = 127
CHUNK = 1 << 18
"""Numbers that become floats at once: a megabyte, which a core's cache holds until they are used."""

_aten: Any = torch.ops.aten


class Int8Weight(Tensor):
    """A matrix (…, out, in) of float32 numbers, held as `int_data` (…, out, in) in int8 and `scale` (…, out, 1)."""

    int_data: Tensor
    scale: Tensor

    @staticmethod
    def __new__(cls, int_data: Tensor, scale: Tensor) -> "Int8Weight":
        weight: Int8Weight = Tensor._make_wrapper_subclass(
            cls, int_data.shape, dtype=scale.dtype, device=int_data.device
        )
        weight.int_data, weight.scale = int_data, scale
        return weight

    def dequantize(self) -> Tensor:
        """The float32 matrix, in new memory."""
        return self.int_data * self.scale

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Int8Weight({list(self.shape)})"

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is F.linear and not named and isinstance(arguments[1], cls):
            return _linear(*arguments)
        if function is F.embedding and not named and isinstance(arguments[1], cls):
            tokens, table = arguments[:2]
            return F.embedding(tokens, table.int_data) * F.embedding(tokens, table.scale)
        with torch._C.DisableTorchFunctionSubclass():
            return function(*arguments, **(named or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        function: Any,
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        weight = arguments[0]
        if function in (_aten.detach.default, _aten.alias.default):
            return cls(weight.int_data, weight.scale)
        if function is _aten.unbind.int and len(arguments) == 1 and weight.dim() > 2:
            return [cls(*each) for each in zip(weight.int_data, weight.scale, strict=True)]
        if function is _aten.index.Tensor and isinstance(weight, cls):
            where = arguments[1]
            return _aten.index(weight.int_data, where) * _aten.index(weight.scale.expand(weight.shape), where)
        if function._schema.is_mutable:
            raise TypeError(f"{function}: int8 weights cannot be changed; dequantize them")
        return function(
            *tree_map_only(cls, cls.dequantize, arguments), **tree_map_only(cls, cls.dequantize, named or {})
        )


def _linear(x: Tensor, weight: Int8Weight, bias: Tensor | None = None) -> Tensor:
    """x (…, in) · weightᵀ + bias → (…, out), some rows at a time, so that the float matrix is never whole in memory."""
    rows = max(1, CHUNK // weight.shape[-1])
    parts = [F.linear(x, some.to(x.dtype)) for some in torch.split(weight.int_data, rows)]
    product = torch.cat(parts, dim=-1) * weight.scale.mT.to(x.dtype)
    return product if bias is None else product + bias


def quantize(weight: Tensor) -> Int8Weight:
    """The nearest int8 matrix to (…, out, in): the largest number of each row becomes ±127."""
    wide = weight.float()
    scale = wide.abs().amax(-1, keepdim=True) / LARGEST
    return Int8Weight((wide / scale.clamp(min=torch.finfo(scale.dtype).tiny)).round().to(torch.int8), scale)


def dequantize(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with every `Int8Weight` dequantized, for training."""
    return {name: each.dequantize() if isinstance(each, Int8Weight) else each for name, each in tensors.items()}
