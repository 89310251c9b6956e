"""The tensors of a model file as the native engine takes them, where they lie in the mapped file; no PyTorch."""

import numpy as np

from openbook.generation.engines.native.program import Weight
from openbook.model_file.arrays import map_arrays
from openbook.model_file.opening import ModelFile
from openbook.model_file.quantized_specs import SCALE_SUFFIX


def as_weights(opened: ModelFile) -> dict[str, Weight]:
    """Every tensor by name. float16 becomes float32, which holds the same numbers.

    Raises:
        OpenbookError: a tensor is empty.
    """
    arrays, weights = map_arrays(opened), {}
    for name, (dtype, numbers) in arrays.items():
        if dtype == "I8":
            weights[name] = Weight("int8", numbers, arrays[name + SCALE_SUFFIX].numbers)
        elif dtype == "BF16":
            weights[name] = Weight("bfloat16", numbers)
        else:
            weights[name] = Weight("float32", numbers.astype(np.float32, copy=False))
    return weights
