"""The tensors of a model file as NumPy arrays: views of the mapped file, for programs without PyTorch."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openbook.errors import OpenbookError
from openbook.model_file.header import DAMAGED
from openbook.model_file.opening import ModelFile

_NUMPY = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I8": np.int8, "U8": np.uint8}


class StoredArray(NamedTuple):
    """A tensor's dtype by the names of safetensors, and its numbers; those of BF16 are their bits, as uint16."""

    dtype: str
    numbers: NDArray[Any]


def map_arrays(opened: ModelFile) -> dict[str, StoredArray]:
    """Every stored tensor by name. Nothing is copied; numbers are read when they are used.

    Raises:
        OpenbookError: one is empty.
    """
    arrays = {}
    for name, info in opened.header.tensors.items():
        kind = np.dtype(_NUMPY[info.dtype])
        count = (info.end - info.begin) // kind.itemsize
        if count == 0:
            raise OpenbookError(f"tensor {name}: it is empty; {DAMAGED}")
        flat = np.frombuffer(opened.data, kind, count, info.begin)
        arrays[name] = StoredArray(info.dtype, flat.reshape(info.shape))
    return arrays
