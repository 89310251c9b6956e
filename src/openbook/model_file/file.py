"""The model file: one safetensors file with everything a model needs, saved whole and loaded without running code.

save("austen.openbook", metadata, model.state_dict())
metadata, tensors = load("austen.openbook")
model = build(metadata.architecture, tensors)
"""

import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.model_file.atomic import atomic_write
from openbook.model_file.header import DAMAGED, Header, TensorSpecs
from openbook.model_file.meta_model import meta_model
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.opening import (
    ModelFile,
    check_alignment,
    check_tensors,
    dtype_error,
    error_context,
    open_model_file,
)
from openbook.model_file.quantization import QuantizingWriter, pack, unpack
from openbook.model_file.quantized_specs import stored_specs
from openbook.model_file.tensor_shapes import expected_shapes
from openbook.model_file.torch_dtypes import HEADER_NAMES, STORED_DTYPES
from openbook.model_file.writing import TensorWriter, write_tensors
from openbook.progress import Advance
from openbook.transformer.architecture import Architecture
from openbook.transformer.transformer import Transformer


def save(path: str | os.PathLike[str], metadata: ModelMetadata, tensors: Mapping[str, Tensor]) -> None:
    """Write a model file. The same metadata and tensors always give the same bytes.

    The file appears whole or not at all: on any failure an older file at `path` stays as it was.

    Args:
        path: where to write; the suffix is .openbook by convention.
        metadata: everything but the tensors.
        tensors: exactly those of the architecture, as from `state_dict()`: all float32, float16 or bfloat16, or
            float32 with some `QuantizedWeight`, on any device. They are copied one at a time.

    Raises:
        OpenbookError: the disk is full, the file cannot be written, or tensors and architecture do not match.
    """
    path = Path(path)
    with error_context(path):
        header = _header_fields(metadata)
        specs = {n: (str(HEADER_NAMES.get(t.dtype, t.dtype)), tuple(t.shape)) for n, t in unpack(tensors).items()}
        expected = check_tensors(metadata.architecture, specs)
    write_tensors(path, header, unpack({name: tensors[name] for name in expected}))


@contextmanager
def model_writer(
    path: str | os.PathLike[str],
    metadata: ModelMetadata,
    dtype: str,
    advance: Advance = lambda amount: None,
) -> Iterator[QuantizingWriter]:
    """Write a model file whose tensors come in parts, so that none has to be whole in memory.

    `write(name, part)` takes the tensors in the order of `expected_shapes`, each in parts of whole rows. The file
    appears when the `with` block ends well.

    Args:
        path: where to write.
        metadata: everything but the tensors.
        dtype: F32, F16 or BF16 for all tensors; or I8 or I4 for the large matrices and F32 for the rest.
        advance: told of the bytes that are written.

    Raises:
        OpenbookError: the disk is full, the file cannot be written, or the metadata could not be read back.
    """
    with specs_writer(path, metadata, stored_specs(expected_shapes(metadata.architecture), dtype), advance) as writer:
        yield writer


@contextmanager
def specs_writer(
    path: str | os.PathLike[str],
    metadata: ModelMetadata,
    specs: TensorSpecs,
    advance: Advance = lambda amount: None,
) -> Iterator[QuantizingWriter]:
    """The same, with the dtype and shape of each tensor given."""
    path = Path(path)
    with error_context(path):
        header = _header_fields(metadata)
    with atomic_write(path) as file:
        writer = QuantizingWriter(TensorWriter(file, header, specs, advance), specs)
        yield writer
        writer.close()


def load(path: str | os.PathLike[str]) -> tuple[ModelMetadata, dict[str, Tensor]]:
    """Metadata and tensors of a model file.

    Each tensor is a view of the memory-mapped file: its bytes are read when they are used. Writing to a tensor changes
    memory only, never the file. A later `save` to the same path leaves these tensors as they are.

    Raises:
        OpenbookError: names the file, what is wrong with it, and the cure.
    """
    opened = open_model_file(path)
    return opened.metadata, tensors_of(opened)


def tensors_of(opened: ModelFile) -> dict[str, Tensor]:
    """The tensors of a model file, as `load` gives them."""
    return pack(map_tensors(opened.header, opened.data))


def map_tensors(header: Header, data: mmap.mmap) -> dict[str, Tensor]:
    """The tensors of a checked header as views of the mapped file.

    Raises:
        OpenbookError: one has a dtype that no model has, is empty, or is not aligned.
    """
    tensors = {}
    for name, info in header.tensors.items():
        if info.dtype not in STORED_DTYPES:
            raise dtype_error(name, info.dtype, STORED_DTYPES)
        dtype = STORED_DTYPES[info.dtype]
        check_alignment(name, info)
        count = (info.end - info.begin) // dtype.itemsize
        if count == 0:
            raise OpenbookError(f"tensor {name}: it is empty; {DAMAGED}")
        flat = torch.frombuffer(data, dtype=dtype, count=count, offset=info.begin)
        tensors[name] = flat.view(info.shape)
    return tensors


def build(architecture: Architecture, tensors: Mapping[str, Tensor]) -> Transformer:
    """The model, in evaluation mode, with these very tensors as its parameters: nothing is copied."""
    model = meta_model(architecture)
    model.load_state_dict(tensors, assign=True, strict=True)
    return model.eval()


def _header_fields(metadata: ModelMetadata) -> dict[str, str]:
    """The metadata as header fields, once it is sure that they can be read back."""
    header = metadata.to_header()
    ModelMetadata.from_header(header)
    return header
