"""Which tensors of a model file are int8 matrices, and where their scales are: names, dtypes and shapes alone."""

from collections.abc import Iterator, Mapping

from openbook.errors import OpenbookError
from openbook.model_file.dtypes import INT8
from openbook.model_file.header import DAMAGED, Shape, TensorSpecs

SCALE_SUFFIX = ".scale"
QUANTIZED_MODULES = (
    *("query", "key", "value", "output", "gate", "up", "down"),
    *("token_embedding", "source_embedding", "to_logits"),
)
"""Modules whose matrices may be int8: nearly all of a model's size. Positions and routers stay float32."""


def stored_specs(shapes: Mapping[str, Shape], dtype: str) -> TensorSpecs:
    """What a file stores for the tensors of an architecture: all of one dtype or, for I8, int8 and F32."""
    if dtype != INT8:
        return {name: (dtype, shape) for name, shape in shapes.items()}
    specs: TensorSpecs = {}
    for name, shape in shapes.items():
        *_, module, leaf = name.split(".")
        # Rows of a multiple of four end where a float32 may begin.
        if module in QUANTIZED_MODULES and leaf == "weight" and len(shape) > 1 and shape[-1] % 4 == 0:
            specs |= {name: (INT8, shape), name + SCALE_SUFFIX: ("F32", (*shape[:-1], 1))}
        else:
            specs[name] = ("F32", shape)
    return specs


def model_specs(stored: TensorSpecs) -> TensorSpecs:
    """The specs of a model's tensors from those that a file stores: int8 with its scales counts as F32.

    Raises:
        OpenbookError: a scale is missing, has another dtype or shape, or belongs to no matrix.
    """
    scales = set(scale_names((name, dtype == INT8) for name, (dtype, _) in stored.items()))
    specs: TensorSpecs = {}
    for name, (dtype, shape) in stored.items():
        if name in scales:
            continue
        if dtype == INT8:
            scale = name + SCALE_SUFFIX
            if len(shape) < 2 or stored.get(scale) != ("F32", (*shape[:-1], 1)):
                raise OpenbookError(f"tensor {name}: is int8, but {scale} is no float32 for each row; {DAMAGED}")
            dtype = "F32"
        specs[name] = (dtype, shape)
    return specs


def scale_names(tensors: Iterator[tuple[str, bool]]) -> Iterator[str]:
    """The names of scales, from the names of tensors and whether they are int8."""
    return (name + SCALE_SUFFIX for name, is_int8 in tensors if is_int8)
