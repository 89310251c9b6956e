"""Matrices of 8 bits in a model file: the whole numbers under the matrix's name, the scales of its rows beside them."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.model_file.header import DAMAGED
from openbook.model_file.int8 import Int8Weight, quantize

Shape = tuple[int, ...]
Kinds = dict[str, tuple[str, Shape]]
"""Name of a tensor → its type by the names of safetensors, and its shape."""

INT8 = "I8"
SCALE_SUFFIX = ".scale"
MATRICES = ("query", "key", "value", "output", "gate", "up", "down", "token_embedding", "source_embedding", "to_logits")
"""The parts whose matrices may be of 8 bits: those that make up a model's size. Positions and routers stay precise."""

AT_ONCE = 1 << 20
"""Numbers that are rounded at once."""


def stored(shapes: Mapping[str, Shape], dtype: str) -> Kinds:
    """The tensors that a file holds for those of an architecture, of one type or, for I8, of that and F32."""
    if dtype != INT8:
        return {name: (dtype, shape) for name, shape in shapes.items()}
    kinds: Kinds = {}
    for name, shape in shapes.items():
        *_, part, leaf = name.split(".")
        # Rows of four numbers each end where a float32 may begin.
        if part in MATRICES and leaf == "weight" and len(shape) > 1 and shape[-1] % 4 == 0:
            kinds |= {name: (INT8, shape), name + SCALE_SUFFIX: ("F32", (*shape[:-1], 1))}
        else:
            kinds[name] = ("F32", shape)
    return kinds


def stored_parts(kinds: Kinds, parts: Iterable[tuple[str, Tensor]]) -> Iterator[Tensor]:
    """What is written for the parts of tensors, each of whole rows, that come with the name of theirs, in order."""
    name, scales = "", list[Tensor]()
    for each, part in parts:
        if each != name:
            yield from scales
            name, scales = each, []
        if kinds[each][0] != INT8:
            yield part
            continue
        for rows in torch.split(part, max(1, AT_ONCE // part[0].numel())):
            matrix = quantize(rows)
            yield matrix.int_data
            scales.append(matrix.scale)
    yield from scales


def pack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as a file holds them: those of 8 bits with their scales behind them."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        pair = (
            {name: tensor.int_data, name + SCALE_SUFFIX: tensor.scale}
            if isinstance(tensor, Int8Weight)
            else {name: tensor}
        )
        found |= pair
    return found


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The other way round from `apart`."""
    return {
        name: Int8Weight(tensor, tensors[name + SCALE_SUFFIX]) if tensor.dtype == torch.int8 else tensor
        for name, tensor in tensors.items()
        if tensors.get(name.removesuffix(SCALE_SUFFIX), tensor).dtype != torch.int8 or tensor.dtype == torch.int8
    }


def without_scales(found: Mapping[str, tuple[str, Shape]]) -> Kinds:
    """Whole numbers and scales checked and taken for one F32 tensor each; the others as they are.

    Raises:
        OpenbookError: a scale is missing, of another type or shape, or belongs to nothing.
    """
    merged: Kinds = {}
    for name, (dtype, shape) in found.items():
        whole = found.get(name.removesuffix(SCALE_SUFFIX))
        if name.endswith(SCALE_SUFFIX) and whole is not None and whole[0] == INT8:
            continue
        if dtype != INT8:
            merged[name] = (dtype, shape)
            continue
        if len(shape) < 2 or found.get(name + SCALE_SUFFIX) != ("F32", (*shape[:-1], 1)):
            raise OpenbookError(
                f"tensor {name}: of 8 bits, but {name}{SCALE_SUFFIX} gives no float32 for each row; {DAMAGED}"
            )
        merged[name] = ("F32", shape)
    return merged
