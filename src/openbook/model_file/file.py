"""The model file: one safetensors file with everything a model needs, saved as a whole and loaded without running code.

save("austen.openbook", metadata, model.state_dict())
metadata, tensors = load("austen.openbook")
model = build(metadata.architecture, tensors)
"""

import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.model_file.atomic import atomic_write
from openbook.model_file.file_type import content_problem, path_problem
from openbook.model_file.header import DAMAGED, Header, looks_like_safetensors, read_header
from openbook.model_file.meta_model import expected_shapes, meta_model
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.quantization import pack, stored, stored_parts, unpack, without_scales
from openbook.model_file.writing import DTYPES, NAMES_OF_DTYPES, STORED, write_parts, write_tensors
from openbook.progress import Advance
from openbook.text.printable import printable
from openbook.transformer.architecture import Architecture
from openbook.transformer.transformer import Transformer

_TENSORS_OF_A_BLOCK = 6  # at least: query, key, value, output, up, down


@dataclass(frozen=True)
class ModelFile:
    """A checked model file, mapped but not read."""

    metadata: ModelMetadata
    header: Header
    data: mmap.mmap


def save(path: str | os.PathLike[str], metadata: ModelMetadata, tensors: Mapping[str, Tensor]) -> None:
    """Write a model file; the same metadata and tensors always give the same bytes.

    The file appears whole or not at all: on any failure an older file at `path` stays as it was.

    Args:
        path: where; the suffix is by custom .openbook.
        metadata: all but the tensors.
        tensors: exactly those of the architecture, as from `state_dict()`, all float32, float16 or bfloat16, or
            float32 and matrices of 8 bits among them, on any device. They are written one at a time, so nothing is
            held twice.

    Raises:
        OpenbookError: the disk is full or cannot be written, or metadata and tensors do not fit each other.
    """
    path = Path(path)
    with error_context(path):
        header = metadata.to_header()
        ModelMetadata.from_header(header)  # what is saved can be loaded
        kinds = {n: (str(NAMES_OF_DTYPES.get(t.dtype, t.dtype)), tuple(t.shape)) for n, t in pack(tensors).items()}
        expected = _check_tensors(metadata.architecture, kinds)
    write_tensors(path, header, pack({name: tensors[name] for name in expected}))


def save_parts(
    path: str | os.PathLike[str],
    metadata: ModelMetadata,
    dtype: str,
    parts: Iterable[tuple[str, Tensor]],
    advance: Advance = lambda amount: None,
) -> None:
    """Write a model file whose tensors come in parts, so that none need be whole in memory.

    Args:
        path: where.
        metadata: all but the tensors.
        dtype: of all tensors: F32, F16 or BF16; or I8, of the matrices alone.
        parts: the numbers of the architecture's tensors, in the order in which the model uses them, in parts of whole
            rows and each with the name of its tensor.
        advance: told of the bytes that are written.

    Raises:
        OpenbookError: the disk is full or cannot be written, or the metadata could not be loaded again.
    """
    path = Path(path)
    with error_context(path):
        header = metadata.to_header()
        ModelMetadata.from_header(header)
        kinds = stored(expected_shapes(metadata.architecture), dtype)
    with atomic_write(path) as file:
        write_parts(file, header, kinds, stored_parts(kinds, parts), advance)


def load(path: str | os.PathLike[str]) -> tuple[ModelMetadata, dict[str, Tensor]]:
    """Metadata and tensors of a model file.

    Each tensor is a view of the memory-mapped file: its bytes are read when they are used. Writing to a tensor changes
    memory only, never the file. A later `save` to the same path leaves these tensors as they are.

    Raises:
        OpenbookError: naming the file, what is wrong with it, and the cure.
    """
    opened = open_model_file(path)
    return opened.metadata, unpack(map_tensors(opened.header, opened.data))


def map_tensors(header: Header, data: mmap.mmap) -> dict[str, Tensor]:
    """The tensors of a checked header as views of the mapped file.

    Raises:
        OpenbookError: one is of a type that no model has, or begins between numbers.
    """
    tensors = {}
    for name, entry in header.tensors.items():
        if entry.dtype not in STORED:
            known = ", ".join(STORED)
            raise OpenbookError(
                f"tensor {name}, dtype: {entry.dtype} is not one of {known}; convert the model to one of them"
            )
        dtype = STORED[entry.dtype]
        if entry.begin % dtype.itemsize:
            raise OpenbookError(f"tensor {name}: it begins at byte {entry.begin:,}, between numbers; {DAMAGED}")
        count = (entry.end - entry.begin) // dtype.itemsize
        if count == 0:
            raise OpenbookError(f"tensor {name}: it is empty; {DAMAGED}")
        flat = torch.frombuffer(data, dtype=dtype, count=count, offset=entry.begin)
        tensors[name] = flat.view(entry.shape)
    return tensors


def build(architecture: Architecture, tensors: Mapping[str, Tensor]) -> Transformer:
    """The model, in evaluation mode, with these very tensors as its parameters: nothing is copied."""
    model = meta_model(architecture)
    model.load_state_dict(tensors, assign=True, strict=True)
    return model.eval()


def open_model_file(path: str | os.PathLike[str]) -> ModelFile:
    """Map a model file and check all of it but the numbers in its tensors.

    Raises:
        OpenbookError: naming the file, what is wrong with it, and the cure.
    """
    path = Path(path)
    with error_context(path):
        fault = path_problem(path)
        if fault is not None:
            raise OpenbookError(fault)
        # A private map of one open file: what is checked is what is used, even if the path gets a new file meanwhile.
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        start = data[:1000]
        if not looks_like_safetensors(start):
            raise OpenbookError(content_problem(start))
        header = read_header(data)
        metadata = ModelMetadata.from_header(header.metadata)
        _check_tensors(metadata.architecture, {name: (e.dtype, e.shape) for name, e in header.tensors.items()})
        for name, entry in header.tensors.items():
            if entry.begin % STORED[entry.dtype].itemsize:
                raise OpenbookError(f"tensor {name}: it begins at byte {entry.begin:,}, between numbers; {DAMAGED}")
    return ModelFile(metadata, header, data)


def _check_tensors(architecture: Architecture, found: Mapping[str, tuple[str, tuple[int, ...]]]) -> Iterable[str]:
    """That the tensors are those of the architecture; their names, in the order in which the model uses them."""
    blocks = sum(len(stack.blocks) for stack in architecture.stacks.values())
    if len(found) < blocks * _TENSORS_OF_A_BLOCK:  # before anything as large as the architecture claims is built
        raise OpenbookError(f"its architecture has {blocks:,} blocks, but there are {len(found):,} tensors; {DAMAGED}")
    found, expected = without_scales(found), expected_shapes(architecture)
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
        if dtype not in DTYPES:
            raise OpenbookError(
                f"tensor {name}, dtype: {dtype} is not one of {', '.join(DTYPES)}; convert the model to one of them"
            )
        if dtype != found[first][0]:
            raise OpenbookError(
                f"tensor {name}, dtype: {dtype} differs from {found[first][0]} of {first}; use one for all"
            )
    return expected


@contextmanager
def error_context(path: Path) -> Iterator[None]:
    """Put the file's name before an error, and keep what a file says from reaching the terminal raw."""
    try:
        yield
    except OpenbookError as error:
        raise OpenbookError(f"{path}: {printable(str(error))}") from None
    except OSError as error:
        raise OpenbookError(f"{path}: cannot be read ({error.strerror})") from None
