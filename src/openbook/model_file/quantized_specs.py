"""Which tensors of a model file are quantized matrices, and what belongs to them: names, dtypes and shapes alone."""

import math
from collections.abc import Collection, Iterator, Mapping

from openbook.errors import OpenbookError
from openbook.model_file.dtypes import INT4, INT8, INT8_GROUPS
from openbook.model_file.header import DAMAGED, Shape, TensorSpecs

SCALE_SUFFIX, OFFSET_SUFFIX = ".scale", ".offset"
PACKED = "U8"
"""Dtype of an int4 matrix in a file: two numbers a byte."""
SUFFIXES = {INT8: (SCALE_SUFFIX,), PACKED: (SCALE_SUFFIX, OFFSET_SUFFIX)}
"""Dtype of a quantized matrix in a file → suffixes of the tensors that belong to it."""
GROUP = 32
"""Numbers of a row that share a scale, where a row has several."""

TABLES = ("token_embedding", "source_embedding", "to_logits")
QUANTIZED_MODULES = ("query", "key", "value", "output", "gate", "up", "down", *TABLES)
"""Modules whose matrices may be quantized: nearly all of a model's size. Positions and routers stay float32."""


def stored_specs(shapes: Mapping[str, Shape], dtype: str, exact: Mapping[str, str] | None = None) -> TensorSpecs:
    """What a file stores for the tensors of an architecture.

    Args:
        shapes: by name.
        dtype: F32, F16 or BF16 for all; or int8 or int4 for the large matrices and F32 for the rest. With int4, the
            embeddings and the matrix of the logits are int8.
        exact: names of matrices → the quantized layout that they already have.
    """
    specs: TensorSpecs = {}
    for name, shape in shapes.items():
        specs |= _specs(name, shape, (exact or {}).get(name) or _layout(name, shape, dtype))
    return specs


def _layout(name: str, shape: Shape, dtype: str) -> str:
    if dtype not in (INT8, INT4):
        return dtype
    *_, module, leaf = name.split(".")
    if module not in QUANTIZED_MODULES or leaf != "weight" or len(shape) < 2:
        return "F32"
    if dtype == INT4 and module not in TABLES and shape[-1] % GROUP == 0:
        return INT4
    return INT8 if shape[-1] % 4 == 0 else "F32"  # such rows end where a float32 may begin


def can_keep(name: str, shape: Shape, layout: str | None, dtype: str) -> bool:
    """Whether a file of this dtype takes a matrix in a layout that it already has, rather than rounding it anew."""
    *_, module, leaf = name.split(".")
    if module not in QUANTIZED_MODULES or leaf != "weight" or shape[-1] % GROUP:
        return False
    if layout == INT4:
        return dtype == INT4
    wanted = dtype == INT8 or (dtype == INT4 and module in TABLES)
    even = math.prod(shape) // GROUP % 2 == 0  # so many float16 scales end where a float32 may begin
    return layout == INT8_GROUPS and wanted and even


def _specs(name: str, shape: Shape, layout: str) -> TensorSpecs:
    groups = (*shape[:-1], shape[-1] // GROUP)
    match layout:
        case "I8":
            return {name: (INT8, shape), name + SCALE_SUFFIX: ("F32", (*shape[:-1], 1))}
        case "I8_GROUPS":
            return {name: (INT8, shape), name + SCALE_SUFFIX: ("F16", groups)}
        case "I4":
            packed = (*shape[:-1], shape[-1] // 2)
            return {name: (PACKED, packed), name + SCALE_SUFFIX: ("F16", groups), name + OFFSET_SUFFIX: ("F16", groups)}
        case _:
            return {name: (layout, shape)}


def model_specs(stored: TensorSpecs) -> TensorSpecs:
    """The specs of a model's tensors from those that a file stores: a quantized matrix counts as F32.

    Raises:
        OpenbookError: a scale or an offset is missing, has another dtype or shape, or belongs to no matrix.
    """
    parts = set(part_names((name, dtype) for name, (dtype, _) in stored.items()))
    specs: TensorSpecs = {}
    for name, (dtype, shape) in stored.items():
        if name in parts:
            continue
        if dtype in SUFFIXES:
            dtype, shape = "F32", _whole_shape(name, stored)
        specs[name] = (dtype, shape)
    return specs


def _whole_shape(name: str, stored: TensorSpecs) -> Shape:
    """The shape of a quantized matrix, once its parts have been checked."""
    dtype, shape = stored[name]
    whole = shape if dtype == INT8 else (*shape[:-1], shape[-1] * 2) if shape else shape
    for layout in (INT8, INT8_GROUPS) if dtype == INT8 else (INT4,):
        wanted = _specs(name, whole, layout) if len(shape) > 1 else {}
        grouped = layout != INT8
        if wanted and not (grouped and whole[-1] % GROUP) and all(stored.get(each) == wanted[each] for each in wanted):
            return whole
    needed = " and ".join(name + suffix for suffix in SUFFIXES[dtype])
    kind = "a number for each row, or for each group of 32" if dtype == INT8 else "numbers for each group of 32"
    raise OpenbookError(
        f"tensor {name}: is {'int8' if dtype == INT8 else 'int4'}, but {needed} is not {kind}; {DAMAGED}"
    )


def layout_of(dtypes: Collection[str]) -> str:
    """The layout of a file's matrices, from the dtypes of all that it stores."""
    return INT4 if PACKED in dtypes else INT8 if INT8 in dtypes else next(iter(dtypes))


def part_names(tensors: Iterator[tuple[str, str]]) -> Iterator[str]:
    """The names of scales and offsets, from the names of tensors and their dtypes."""
    return (name + suffix for name, dtype in tensors for suffix in SUFFIXES.get(dtype, ()))
