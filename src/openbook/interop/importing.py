"""Make a model file of another program's model: a Hugging Face folder or a GGUF file.

Both are opened as a `Checkpoint`, which looks like a Hugging Face folder: a GGUF file's fields become a config.json and
its tensors get the names they have there. Everything after that is the same for both, and happens here.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.interop.gguf.importing import open_gguf
from openbook.interop.gguf.parts import part_paths
from openbook.interop.huggingface.families.registry import family_of, read_architecture
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.importing import open_folder
from openbook.interop.huggingface.resolve import Mappings, resolve
from openbook.interop.huggingface.tensor_mapping import TensorMapping
from openbook.interop.huggingface.weights import TensorSource
from openbook.interop.tokenizers import ImportedTokenizer, LegacyLayout
from openbook.model_file.dtypes import IMPORT_DTYPES, header_dtype
from openbook.model_file.file import specs_writer
from openbook.model_file.header import DAMAGED, ITEM_BYTES, Shape
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.opening import error_context
from openbook.model_file.output_path import SUFFIX, check_output_file
from openbook.model_file.quantized_specs import can_keep, stored_specs
from openbook.model_file.tensor_shapes import expected_shapes
from openbook.model_file.torch_dtypes import DTYPES, NumberCast
from openbook.progress import Track, silent
from openbook.transformer.architecture import Architecture

NO_SIZES = ("sliding_window", "max_window_layers", "num_experts_per_tok", "experts_per_token", "pad_token_id")
"""Whole numbers in a config.json that no tensor's shape depends on."""


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

    def notes(self) -> list[str]:
        """What a person should know about the files that were read, a line each."""
        ...

    def add_metadata(self, metadata: ModelMetadata) -> ModelMetadata:
        """The metadata with what else the checkpoint states."""
        ...


@dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
        family: the family of the model.
        metadata: that of the model file.
        dtype: that of the model file: float32, …, int8.
        notes: what was guessed, replaced or left out, a line each.
    """

    family: str
    metadata: ModelMetadata
    dtype: str
    notes: tuple[str, ...] = ()


# Over 60 lines by the list of its arguments; the body is one sequence, whose steps share most of their values.
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
        path: a folder with config.json, safetensors and tokenizer files; or a GGUF file, or
            a part of one whose other parts are beside it.
        output: the model file.
        dtype: float32, float16, bfloat16, int8 or int4; None keeps the model's own (float32 for a quantized GGUF file).
            int8 keeps the numbers of Q8_0 matrices as they are, int4 those of Q4_0 and Q4_1 too.
        overwrite: replace an existing output, but never a file that is read.
        track: shows progress, in bytes.

    Raises:
        OpenbookError: names the file, the field or tensor, and the cure.
    """
    path, output = Path(path), Path(output)
    # An earlier model file beside the weights is not read.
    beside = (file for file in path.iterdir() if file.suffix != SUFFIX) if path.is_dir() else part_paths(path)
    check_output_file(output, beside, overwrite)
    with error_context(path):
        checkpoint: Checkpoint = open_gguf(path) if path.is_file() else open_folder(path)
        family = family_of(checkpoint.config)
        architecture = read_architecture(family, checkpoint.config)
        weights = checkpoint.weights
        architecture = family.adapt(architecture, weights)
        shapes, tables = expected_shapes(architecture), family.tables(architecture)
        with _assumed_sizes_named(checkpoint.config.assumed):
            found = resolve(family, tables, shapes, weights, architecture.tied_embeddings)
        stored = checkpoint.dtype(found) if dtype is None else header_dtype(dtype, IMPORT_DTYPES)
        exact = _exact_layouts(found, weights, shapes, stored)
        specs = stored_specs(shapes, stored, exact)
    tokenizer = checkpoint.read_tokenizer(family.tokenizer)
    with error_context(path):
        metadata = _metadata(architecture, tokenizer)
        notes = [*checkpoint.notes(), *tokenizer.notes, *_check_vocabulary(metadata)]
        metadata = checkpoint.add_metadata(metadata)
    size = sum(ITEM_BYTES[kind] * math.prod(shape) for kind, shape in specs.values())
    with track("Importing", size) as advance, specs_writer(output, metadata, specs, advance) as writer:
        cast = NumberCast(DTYPES.get(stored, torch.float32))
        with error_context(path):
            for mapping in chain.from_iterable(found.values()):
                if mapping.ours in exact:
                    writer.write(mapping.ours, weights.read_quantized(mapping.theirs, mapping.their_index))
                else:
                    writer.write(mapping.ours, cast(mapping.ours, _read(mapping, weights, shapes)))
            cast.check()
    return Imported(family.name, metadata, _typed(stored), tuple(notes))


def _metadata(architecture: Architecture, tokenizer: ImportedTokenizer) -> ModelMetadata:
    return ModelMetadata(
        architecture=architecture,
        tokenizer=tokenizer.tokenizer,
        special_tokens=tokenizer.special_tokens,
        source_tokenizer=tokenizer.source_tokenizer,
        chat_template=tokenizer.chat_template,
    )


def _typed(stored: str) -> str:
    """A dtype of a header, as it is typed."""
    return next(name for name, short in IMPORT_DTYPES.items() if short == stored)


@contextmanager
def _assumed_sizes_named(assumed: Mapping[str, int]) -> Iterator[None]:
    """An error that tensors do not fit tells the sizes that config.json leaves out, which explain it."""
    try:
        yield
    except OpenbookError as error:
        sizes = [f"{name} ({value:,})" for name, value in assumed.items() if name not in NO_SIZES]
        if not sizes:
            raise
        reason = str(error).removesuffix(f"; {DAMAGED}")
        raise OpenbookError(
            f"config.json leaves out {', '.join(sizes)}, for which the defaults in brackets count, and the tensors do "
            f"not fit; add the model's own: {reason}"
        ) from None


def _check_vocabulary(metadata: ModelMetadata) -> list[str]:
    """Refuse a tokenizer that is too large; say how many rows of the embedding have no token."""
    tokenizer, rows = metadata.make_tokenizer(), metadata.architecture.vocab_size
    size, spare = tokenizer.vocab_size, len(tokenizer.ids_without_token(rows))
    if size > rows:
        raise OpenbookError(
            f"its tokenizer has {size:,} tokens, but config.json says vocab_size {rows:,}; "
            "take the tokenizer that the model was trained with"
        )
    if not spare:
        return []
    return [f"{spare:,} of the {rows:,} rows of its embedding have no token: no answer contains them"]


def _exact_layouts(found: Mappings, weights: TensorSource, shapes: Mapping[str, Shape], stored: str) -> dict[str, str]:
    """Matrices that a quantized model file can have just as the checkpoint does → their layout."""
    exact = {}
    for name, mappings in found.items():
        layouts = {weights.layout(each.theirs) if each.theirs and not each.mxfp4 else None for each in mappings}
        layout = layouts.pop() if len(layouts) == 1 else None
        whole_rows = all(not each.transposed and len(each.their_index) < 2 for each in mappings)
        if layout is not None and whole_rows and can_keep(name, shapes[name], layout, stored):
            exact[name] = layout
    return exact


def _read(mapping: TensorMapping, weights: TensorSource, shapes: Mapping[str, Shape]) -> Tensor:
    """The numbers of a part of our tensor; zeros where an optional one is absent."""
    if not mapping.theirs:
        return torch.zeros(shapes[mapping.ours])
    part = weights.read(mapping.theirs, mapping.their_index, mapping.mxfp4)
    return part.mT if mapping.transposed else part
