"""A folder of Hugging Face → a model file, one part of a tensor after another."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.interop.huggingface.extra_metadata import read_remainder
from openbook.interop.huggingface.families import FAMILIES
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.interop.huggingface.generation_config import read_generation
from openbook.interop.huggingface.resolve import resolve
from openbook.interop.huggingface.tensor_mapping import Link
from openbook.interop.huggingface.weights import Source, Weights, open_weights, read_small_json
from openbook.interop.tokenizers import read_tokenizer
from openbook.model_file.file import error_context, save_parts
from openbook.model_file.file_type import path_problem
from openbook.model_file.header import ITEM_BYTES
from openbook.model_file.meta_model import expected_shapes
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.quantization import INT8, stored
from openbook.model_file.writing import DTYPES
from openbook.progress import Track, silent
from openbook.text.printable import excerpt
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.transformer.architecture import Architecture

LONGEST_CONFIG = 4_000_000
DTYPE_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
FILE_DTYPES = {**DTYPE_NAMES, "int8": INT8}
"""How people call the types, and how safetensors does; a model file may have matrices of 8 bits too."""


@dataclass(frozen=True)
class Imported:
    """What a folder was: its family, and the contents of the model file made of it."""

    family: str
    metadata: ModelMetadata
    dtype: str


def import_folder(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    track: Track = silent,
) -> Imported:
    """Make a model file of a folder with config.json, safetensors and tokenizer files.

    Nothing in the folder is run. Memory holds one tensor at a time, of an expert where there are many.

    Args:
        folder: as `save_pretrained` of transformers writes it, or as it is downloaded.
        output: the model file.
        dtype: float32, float16, bfloat16 or int8; None keeps the folder's own.
        track: shows progress, in bytes.

    Raises:
        OpenbookError: naming the file, the field and the cure.
    """
    folder = Path(folder)
    with error_context(folder):
        _check_folder(folder)
        fields = Fields(read_small_json(folder / "config.json", LONGEST_CONFIG))
        family = family_of(fields)
        architecture = read_architecture(family, fields)
        weights = open_weights(folder)
        architecture = family.adapt(architecture, weights)
        found = resolve(family, architecture, weights)
        chosen = FILE_DTYPES[checked_dtype(dtype, FILE_DTYPES)] if dtype is not None else _dtype(fields, weights, found)
    text = read_tokenizer(folder, family.tokenizer)
    with error_context(folder):
        check_vocabulary(text.tokenizer, text.special_tokens, architecture.vocab_size)
        metadata = read_remainder(
            folder,
            ModelMetadata(
                architecture=architecture,
                tokenizer=text.tokenizer,
                special_tokens=text.special_tokens,
                source_tokenizer=text.source_tokenizer,
                chat_template=text.chat_template,
                generation=read_generation(folder),
            ),
        )
        shapes = expected_shapes(architecture)
    with track("Importing", stored_size(shapes, chosen)) as advance:
        save_parts(output, metadata, chosen, parts(found, weights, chosen, shapes), advance)
    return Imported(family.name, metadata, next(name for name, short in FILE_DTYPES.items() if short == chosen))


def stored_size(shapes: dict[str, tuple[int, ...]], dtype: str) -> int:
    """The bytes that tensors of these shapes take in a file of this type."""
    return sum(shape_size(shape) * ITEM_BYTES[kind] for kind, shape in stored(shapes, dtype).values())


def shape_size(shape: tuple[int, ...]) -> int:
    """Numbers in a tensor of this shape, exactly."""
    size = 1
    for length in shape:
        size *= length
    return size


def checked_dtype(name: str, known: Mapping[str, str] = DTYPE_NAMES) -> str:
    """The name of a type that a model may have. Raises OpenbookError with those there are."""
    if name not in known:
        raise OpenbookError(f"--dtype {name}: must be one of {', '.join(known)}")
    return name


def family_of(fields: Fields) -> Family:
    """The family that `model_type` names. Raises OpenbookError with those that are known."""
    kinds = {kind: family for family in FAMILIES for kind in family.model_types}
    kind = fields.maybe_word("model_type")
    family = kinds.get(kind or "")
    if family is None:
        known = ", ".join(family.name for family in FAMILIES)
        found = "is missing" if kind is None else f"{excerpt(kind)} is not known"
        raise fields.fault("model_type", f"{found}; there are {known}")
    return family


def read_architecture(family: Family, fields: Fields) -> Architecture:
    """The architecture that a config.json describes.

    Raises:
        OpenbookError: a field is missing, of the wrong kind, out of range, or not understood.
    """
    try:
        architecture = family.read(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise OpenbookError(f"{fields.where}: {f'{place}: ' if place else ''}{reason}") from None
    fields.finish()
    return architecture


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        fault = path_problem(folder)
        raise OpenbookError(fault or "is a file; give the folder with config.json in which it lies")
    if not (folder / "config.json").is_file():
        raise OpenbookError("has no config.json; give the folder of one model, as transformers saves it")


def check_vocabulary(tokenizer: str, special: SpecialTokens, vocab_size: int) -> None:
    size = Tokenizer.from_json(tokenizer, special).vocab_size
    if size > vocab_size:
        raise OpenbookError(f"its tokenizer has {size:,} tokens, but config.json says vocab_size {vocab_size:,}")


def _dtype(fields: Fields, weights: Weights, found: dict[str, list[Link]]) -> str:
    """The type of all tensors where they agree, else the one in config.json, else one that holds them all."""
    kinds = {
        "BF16" if link.packed else weights.dtype(link.theirs).replace("F64", "F32")
        for each in found.values()
        for link in each
        if link.theirs
    }
    for kind in sorted(kinds - DTYPES.keys()):
        raise OpenbookError(f"some of its tensors are {kind}, none of {', '.join(DTYPES)}; convert the model first")
    if len(kinds) == 1:
        return kinds.pop()
    named = fields.maybe_word("dtype") or fields.maybe_word("torch_dtype")
    return DTYPE_NAMES.get(named or "", "F32")


def parts(
    found: dict[str, list[Link]], weights: Source, kind: str, shapes: dict[str, tuple[int, ...]]
) -> Iterator[tuple[str, Tensor]]:
    """The numbers of our tensors, one after the other; of those with many experts, one expert after the other."""
    dtype = DTYPES.get(kind, torch.float32)
    for each in found.values():
        for link in each:
            if not link.theirs:
                yield link.ours, torch.zeros(shapes[link.ours], dtype=dtype)
                continue
            part = weights.read(link.theirs, link.theirs_at, link.packed)
            yield link.ours, (part.mT if link.transposed else part).to(dtype)
