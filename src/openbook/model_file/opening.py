"""Opening a model file: mapped into memory and checked, without PyTorch and without reading its numbers."""

import mmap
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.model_file.dtypes import DTYPE_NAMES
from openbook.model_file.file_type import content_problem, path_problem
from openbook.model_file.header import (
    DAMAGED,
    ITEM_BYTES,
    Header,
    TensorInfo,
    TensorSpecs,
    looks_like_safetensors,
    read_header,
)
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.quantized_specs import model_specs
from openbook.model_file.tensor_shapes import expected_shapes
from openbook.text.printable import printable
from openbook.transformer.architecture import Architecture

_TENSORS_PER_BLOCK = 6  # at least: query, key, value, output, up, down


@dataclass(frozen=True)
class ModelFile:
    """A checked model file, mapped but not read."""

    metadata: ModelMetadata
    header: Header
    data: mmap.mmap

    def forget_pages(self) -> None:
        """Give back the memory of the pages that were read; whoever reads them again gets them from the file again.

        Not after a tensor was changed in place: the change would be lost.
        """
        if sys.platform == "linux":
            self.data.madvise(mmap.MADV_DONTNEED)


def open_model_file(path: str | os.PathLike[str]) -> ModelFile:
    """Map a model file and check everything but the numbers in its tensors.

    Raises:
        OpenbookError: names the file, what is wrong with it, and the cure.
    """
    path = Path(path)
    with error_context(path):
        problem = path_problem(path)
        if problem is not None:
            raise OpenbookError(problem)
        # A private map of one open file: what is checked is what is used, even if the path gets a new file meanwhile.
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        start = data[:1000]
        if not looks_like_safetensors(start):
            raise OpenbookError(content_problem(start))
        header = read_header(data)
        metadata = ModelMetadata.from_header(header.metadata)
        check_tensors(metadata.architecture, {name: (t.dtype, t.shape) for name, t in header.tensors.items()})
        for name, info in header.tensors.items():
            check_alignment(name, info)
    return ModelFile(metadata, header, data)


def check_tensors(architecture: Architecture, stored: TensorSpecs) -> Iterable[str]:
    """Check that the tensors are those of the architecture; their names, in the order in which the model uses them."""
    blocks = sum(len(stack.blocks) for stack in architecture.stacks.values())
    if len(stored) < blocks * _TENSORS_PER_BLOCK:  # before anything as large as the architecture claims is built
        raise OpenbookError(f"its architecture has {blocks:,} blocks, but there are {len(stored):,} tensors; {DAMAGED}")
    found, expected = model_specs(stored), expected_shapes(architecture)
    for name in expected:
        if name not in found:
            raise OpenbookError(f"tensor {name} of its architecture is missing; {DAMAGED}")
    first = next(iter(expected))
    for name, (dtype, shape) in found.items():
        if name not in expected:
            raise OpenbookError(
                f"tensor {name} is not part of its architecture; written by a newer openbook, or {DAMAGED}"
            )
        if shape != expected[name]:
            raise OpenbookError(
                f"tensor {name}, shape: {list(shape)} should be {list(expected[name])} by its architecture; {DAMAGED}"
            )
        if dtype not in DTYPE_NAMES:
            raise dtype_error(name, dtype, DTYPE_NAMES)
        if dtype != found[first][0]:
            raise OpenbookError(
                f"tensor {name}, dtype: {dtype} differs from {found[first][0]} of {first}; use one for all"
            )
    return expected


def check_alignment(name: str, info: TensorInfo) -> None:
    """Raise OpenbookError unless a tensor begins where a number of its dtype may."""
    if info.begin % ITEM_BYTES[info.dtype]:
        raise OpenbookError(f"tensor {name}: it begins at byte {info.begin:,}, between numbers; {DAMAGED}")


def dtype_error(name: str, dtype: str, known: Iterable[str]) -> OpenbookError:
    """The error of a tensor whose dtype is none of those."""
    return OpenbookError(
        f"tensor {name}, dtype: {dtype} is not one of {', '.join(known)}; convert the model to one of them"
    )


@contextmanager
def error_context(path: Path) -> Iterator[None]:
    """Put the file's name before an error, and keep what a file says from reaching the terminal raw."""
    try:
        yield
    except OpenbookError as error:
        raise error.rewritten(lambda text: f"{path}: {printable(text)}") from None
    except OSError as error:
        raise OpenbookError(f"{path}: cannot be read ({error.strerror})") from None
