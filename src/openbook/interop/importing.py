"""Make a model file of another program's model: a Hugging Face folder or a GGUF file.

Both are opened as a `Checkpoint`, which looks like a Hugging Face folder: a GGUF file's fields become a config.json and
its tensors get the names they have there. Everything after that is the same for both, and happens here.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.interop.gguf.importing import open_gguf
from openbook.interop.huggingface.families.registry import family_of, read_architecture
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.importing import open_folder
from openbook.interop.huggingface.resolve import Mappings, resolve
from openbook.interop.huggingface.tensor_mapping import TensorMapping
from openbook.interop.huggingface.weights import TensorSource
from openbook.interop.tokenizers import ImportedTokenizer, LegacyLayout
from openbook.model_file.dtypes import IMPORT_DTYPES
from openbook.model_file.file import model_writer
from openbook.model_file.header import ITEM_BYTES, Shape
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.opening import error_context
from openbook.model_file.output_path import SUFFIX, check_output_file
from openbook.model_file.quantized_specs import stored_specs
from openbook.model_file.tensor_shapes import expected_shapes
from openbook.model_file.torch_dtypes import DTYPES
from openbook.progress import Track, silent


class Checkpoint(Protocol):
    """Another program's model, opened but not read."""

    @property
    def config(self) -> ConfigFields:
        """The fields of its config.json."""
        ...

    @property
    def weights(self) -> TensorSource:
        """Its tensors."""
        ...

    def dtype(self, found: Mappings) -> str:
        """The dtype that the model file gets if nobody asks for another."""
        ...

    def read_tokenizer(self, layout: LegacyLayout) -> ImportedTokenizer:
        """Its tokenizer and chat template."""
        ...

    def add_metadata(self, metadata: ModelMetadata) -> ModelMetadata:
        """The metadata with what else the checkpoint states."""
        ...


@dataclass(frozen=True)
class Imported:
    """What was imported: the family, the metadata of the model file, and its dtype (float32, …, int8)."""

    family: str
    metadata: ModelMetadata
    dtype: str


def import_model(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    overwrite: bool = False,
    track: Track = silent,
) -> Imported:
    """Make a model file of a Hugging Face folder or a GGUF file. Nothing in it is run.

    Memory holds one tensor at a time or, of many experts, one expert.

    Args:
        path: a folder with config.json, safetensors and tokenizer files; or a GGUF file.
        output: the model file.
        dtype: float32, float16, bfloat16 or int8; None keeps the model's own (float32 for a quantized GGUF file).
        overwrite: replace an existing output, but never a file that is read.
        track: shows progress, in bytes.

    Raises:
        OpenbookError: names the file, the field or tensor, and the cure.
    """
    path, output = Path(path), Path(output)
    # An earlier model file beside the weights is not read.
    beside = (file for file in path.iterdir() if file.suffix != SUFFIX) if path.is_dir() else [path]
    check_output_file(output, beside, overwrite)
    with error_context(path):
        checkpoint: Checkpoint = open_gguf(path) if path.is_file() else open_folder(path)
        family = family_of(checkpoint.config)
        architecture = read_architecture(family, checkpoint.config)
        weights = checkpoint.weights
        architecture = family.adapt(architecture, weights)
        shapes, tables = expected_shapes(architecture), family.tables(architecture)
        found = resolve(family, tables, shapes, weights, architecture.tied_embeddings)
        stored = checkpoint.dtype(found) if dtype is None else header_dtype(dtype, IMPORT_DTYPES)
    tokenizer = checkpoint.read_tokenizer(family.tokenizer)
    with error_context(path):
        metadata = ModelMetadata(
            architecture=architecture,
            tokenizer=tokenizer.tokenizer,
            special_tokens=tokenizer.special_tokens,
            source_tokenizer=tokenizer.source_tokenizer,
            chat_template=tokenizer.chat_template,
        )
        _check_vocabulary(metadata)
        metadata = checkpoint.add_metadata(metadata)
    size = sum(ITEM_BYTES[kind] * math.prod(shape) for kind, shape in stored_specs(shapes, stored).values())
    with track("Importing", size) as advance, model_writer(output, metadata, stored, advance) as writer:
        for mapping in (mapping for mappings in found.values() for mapping in mappings):
            writer.write(mapping.ours, _read(mapping, weights, shapes).to(DTYPES.get(stored, torch.float32)))
    return Imported(family.name, metadata, next(name for name, short in IMPORT_DTYPES.items() if short == stored))


def header_dtype(name: str, known: Mapping[str, str]) -> str:
    """The name in a header of a dtype that someone typed. Raises OpenbookError with those that are known."""
    if name not in known:
        raise OpenbookError(f"--dtype {name}: must be one of {', '.join(known)}")
    return known[name]


def _check_vocabulary(metadata: ModelMetadata) -> None:
    size, rows = metadata.make_tokenizer().vocab_size, metadata.architecture.vocab_size
    if size > rows:
        raise OpenbookError(f"its tokenizer has {size:,} tokens, but config.json says vocab_size {rows:,}")


def _read(mapping: TensorMapping, weights: TensorSource, shapes: Mapping[str, Shape]) -> Tensor:
    """The numbers of a part of our tensor; zeros where an optional one is absent."""
    if not mapping.theirs:
        return torch.zeros(shapes[mapping.ours])
    part = weights.read(mapping.theirs, mapping.their_index, mapping.mxfp4)
    return part.mT if mapping.transposed else part
