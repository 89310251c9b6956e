"""Tensors and strings → a safetensors file, one tensor at a time and always the same bytes.

The safetensors library puts the metadata in another order each time and the tensors in the order of the alphabet;
here the same content gives the same bytes, in the order in which it is given.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from openbook.model_file.atomic import replacing
from openbook.model_file.header import write_header

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Those that a model may have, by their names in the header."""

NAMES_OF_DTYPES = {dtype: name for name, dtype in DTYPES.items()}


def write_tensors(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all; only one tensor is copied at a time.

    Raises:
        OpenbookError: the disk is full or cannot be written.
    """
    shapes = {name: (NAMES_OF_DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}
    header = write_header(metadata, shapes)
    with replacing(path) as file:
        file.write(header)
        for tensor in tensors.values():
            flat = tensor.detach().cpu().contiguous().flatten()
            file.write(flat.view(torch.uint8).numpy().data)
