"""The tensors of a model file as the native engine takes them, where they lie in the mapped file; no PyTorch."""

from openbook.generation.engines.native.program import Weight, quantized
from openbook.model_file.arrays import map_arrays
from openbook.model_file.opening import ModelFile
from openbook.model_file.quantized_specs import SUFFIXES, part_names


def as_weights(opened: ModelFile) -> dict[str, Weight]:
    """Every tensor by name.

    Raises:
        OpenbookError: a tensor is empty.
    """
    arrays = map_arrays(opened)
    parts = set(part_names((name, array.dtype) for name, array in arrays.items()))
    weights = {}
    for name, array in arrays.items():
        if array.dtype in SUFFIXES:
            weights[name] = quantized({suffix: arrays[name + suffix] for suffix in ("", *SUFFIXES[array.dtype])})
        elif name not in parts:
            weights[name] = Weight.of(array)
    return weights
