"""Tensors and strings → a safetensors file, one tensor at a time and always the same bytes.

The safetensors library puts the metadata in another order each time and the tensors in the order of the alphabet;
here the same content gives the same bytes, in the order in which it is given.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from openbook.model_file.atomic import atomic_write
from openbook.model_file.header import ITEM_BYTES, write_header
from openbook.progress import Advance

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Those that a model may have, by their names in the header."""

STORED = {**DTYPES, "I8": torch.int8}
"""Those that a file may have: matrices of 8 bits come with scales (see `eight_bits`)."""

NAMES_OF_DTYPES = {dtype: name for name, dtype in STORED.items()}


def write_tensors(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all; only one tensor is copied at a time.

    Raises:
        OpenbookError: the disk is full or cannot be written.
    """
    shapes = {name: (NAMES_OF_DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}
    with atomic_write(path) as file:
        write_parts(file, metadata, shapes, tensors.values())


def write_parts(
    file: BinaryIO,
    metadata: Mapping[str, str],
    shapes: Mapping[str, tuple[str, Sequence[int]]],
    parts: Iterable[Tensor],
    advance: Advance = lambda amount: None,
) -> None:
    """Write a safetensors file whose tensors come in parts, one after the other, so that none need be whole in memory.

    Args:
        file: open for writing.
        metadata: strings to keep beside the tensors.
        shapes: dtype and shape of each tensor.
        parts: their numbers in this order, each part of any shape.
        advance: told of the bytes that are written.
    """
    header = write_header(metadata, shapes)
    file.write(header)
    left = sum(ITEM_BYTES[dtype] * math.prod(shape) for dtype, shape in shapes.values())
    for part in parts:
        flat = part.detach().cpu().contiguous().flatten().view(torch.uint8)
        file.write(flat.numpy().data)
        left -= len(flat)
        advance(len(flat))
    assert left == 0, f"{left} bytes of the tensors were not given"
