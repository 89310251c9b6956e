"""Write a safetensors file one tensor at a time.

The safetensors library writes metadata in an order that changes from process to process. Here the same content gives
the same bytes, with tensors in the order given.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from openbook.model_file.atomic import atomic_write
from openbook.model_file.header import ITEM_BYTES, TensorSpecs, write_header
from openbook.model_file.torch_dtypes import HEADER_NAMES
from openbook.progress import Advance


def write_tensors(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all. Copies one tensor at a time.

    Raises:
        OpenbookError: the disk is full or the file cannot be written.
    """
    specs = {name: (HEADER_NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}
    with atomic_write(path) as file:
        writer = TensorWriter(file, metadata, specs)
        for tensor in tensors.values():
            writer.write(tensor)
        writer.close()


class TensorWriter:
    """Writes tensors in parts, so that none has to be whole in memory."""

    def __init__(
        self,
        file: BinaryIO,
        metadata: Mapping[str, str],
        specs: TensorSpecs,
        advance: Advance = lambda amount: None,
    ) -> None:
        """Write the header.

        Args:
            file: open for writing.
            metadata: strings to keep beside the tensors.
            specs: dtype and shape of each tensor, in the order in which `write` will be given them.
            advance: told of the bytes of tensors that are written.
        """
        self._file, self._advance = file, advance
        self._left = sum(ITEM_BYTES[dtype] * math.prod(shape) for dtype, shape in specs.values())
        file.write(write_header(metadata, specs))

    def write(self, part: Tensor) -> None:
        """Write the next numbers: a part of any shape, already of the dtype in the header."""
        data = part.detach().cpu().contiguous().flatten().view(torch.uint8)
        self._file.write(data.numpy().data)
        self._left -= len(data)
        self._advance(len(data))

    def close(self) -> None:
        """Check that every number was given."""
        assert self._left == 0, f"{self._left} bytes of the tensors were not given"
