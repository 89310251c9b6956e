"""What quantized matrices share: tensors that stand for float32 ones in products, look-ups and everything else.

A quantized matrix is held as a few parts, whose rows belong together. It cannot be changed: to train, call
`dequantize`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map_only

from openbook.model_file.quantized_specs import GROUP

CHUNK = 1 << 18
"""Numbers that become floats at once: a megabyte, which a core's cache holds until they are used."""


_aten: Any = torch.ops.aten


class QuantizedWeight(Tensor):
    """A matrix (…, out, in) of float32 numbers, held as `parts`, each (…, out, something).

    Each layout defines `floats` and `numbers_at`. They are not abstract methods, since PyTorch's metaclass of tensors
    does not combine with that of abstract classes.
    """

    parts: tuple[Tensor, ...]

    @staticmethod
    def __new__(cls, *parts: Tensor) -> Self:
        shape, device = cls.shape_of(*parts), parts[0].device
        weight: Self = Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float32, device=device)
        weight.parts = parts
        return weight

    @classmethod
    def shape_of(cls, *parts: Tensor) -> Sequence[int]:
        """The shape (…, out, in) that these parts stand for."""
        return parts[0].shape

    @classmethod
    def floats(cls, *parts: Tensor) -> Tensor:
        """The float32 numbers that parts stand for; any leading axes, the rows' own axis last.

        Every layout has its own.
        """
        raise NotImplementedError

    @classmethod
    def product(cls, x: Tensor, *parts: Tensor) -> Tensor:
        """x (…, in) · floatsᵀ → (…, rows), of some rows of the parts."""
        return F.linear(x, cls.floats(*parts).to(x.dtype))

    def numbers_at(self, *where: Tensor) -> Tensor:
        """The numbers at these indices, one tensor for each axis, broadcast. Every layout has its own."""
        raise NotImplementedError

    def dequantize(self) -> Tensor:
        """The float32 matrix, in new memory."""
        return self.floats(*self.parts)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"{type(self).__name__}({list(self.shape)})"

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
            return cls.floats(*(F.embedding(tokens, part) for part in table.parts))
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
            return cls(*weight.parts)
        if function is _aten.unbind.int and len(arguments) == 1 and weight.dim() > 2:
            return [cls(*each) for each in zip(*weight.parts, strict=True)]
        if function is _aten.index.Tensor and isinstance(weight, cls):
            where = arguments[1]
            if len(where) == weight.dim() and None not in where:
                return weight.numbers_at(*where)
        if function._schema.is_mutable:
            raise TypeError(f"{function}: quantized weights cannot be changed; dequantize them")
        return function(
            *tree_map_only(cls, cls.dequantize, arguments), **tree_map_only(cls, cls.dequantize, named or {})
        )


def _linear(x: Tensor, weight: QuantizedWeight, bias: Tensor | None = None) -> Tensor:
    """x (…, in) · weightᵀ + bias → (…, out), some rows at a time, so that the float matrix is never whole in memory."""
    rows = max(1, CHUNK // weight.shape[-1])
    split = zip(*(torch.split(part, rows) for part in weight.parts), strict=True)
    product = torch.cat([weight.product(x, *some) for some in split], dim=-1)
    return product if bias is None else product + bias


def in_groups(x: Tensor) -> Tensor:
    """(…, in) → (…, in / 32, 32)."""
    return x.view(*x.shape[:-1], -1, GROUP)


def dequantize(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with every quantized one dequantized, for training."""
    return {name: each.dequantize() if isinstance(each, QuantizedWeight) else each for name, each in tensors.items()}
