"""A model file → a folder that transformers loads, one tensor after another, in shards where there is much of it."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.interop.huggingface.dequantization import query_factors, without_scales
from openbook.interop.huggingface.extra_metadata import write_remainder
from openbook.interop.huggingface.families import FAMILIES
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.interop.huggingface.generation_config import write_generation
from openbook.interop.huggingface.importing import DTYPE_NAMES, checked_dtype, shape_size
from openbook.interop.huggingface.tensor_mapping import Link, Shape, extent, links
from openbook.interop.huggingface.weights import INDEX, SINGLE, Weights
from openbook.interop.tokenizers import write_tokenizer, write_tokenizer_pair
from openbook.model_file.atomic import atomic_folder, atomic_write
from openbook.model_file.file import error_context, open_model_file
from openbook.model_file.header import TensorInfo
from openbook.model_file.meta_model import expected_shapes
from openbook.model_file.quantization import INT8
from openbook.model_file.writing import DTYPES, write_parts
from openbook.progress import Advance, Track, silent
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.transformer.architecture import Architecture

SHARD = 5_000_000_000
"""Bytes of a shard, at most, unless one tensor alone has more."""


@dataclass(frozen=True)
class Exported:
    """What was written: the family whose shape the model has, and the files with its weights."""

    family: str
    files: tuple[str, ...]


def export_folder(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    shard: int = SHARD,
    overwrite: bool = False,
    track: Track = silent,
) -> Exported:
    """Write a model file as a folder that transformers loads. It appears whole or not at all.

    The family is chosen by the architecture alone: the first whose config.json, read again, says the same.

    Args:
        model: a model file.
        folder: where; it must not exist, or be empty.
        dtype: float32, float16 or bfloat16; None keeps the model's own.
        shard: bytes of a shard at most.
        overwrite: replace an existing folder.
        track: shows progress, in bytes.

    Raises:
        OpenbookError: no family has this shape, the folder is there already, or a file cannot be read or written.
    """
    model = Path(model)
    opened = open_model_file(model)
    metadata, entries = opened.metadata, opened.header.tensors
    with error_context(model):
        family, config, described = choose_family(metadata.architecture)
        own = own_dtype(entries)
        kind = own if dtype is None else DTYPE_NAMES[checked_dtype(dtype)]
        special = Tokenizer.from_json(metadata.tokenizer, metadata.special_tokens).special
    weights = Weights({name: (model, entry) for name, entry in entries.items()})
    factors = query_factors(metadata.architecture, described)
    theirs = their_tensors(described, family)
    sizes = {name: shape_size(shape) * DTYPES[kind].itemsize for name, (shape, _) in theirs.items()}
    with atomic_folder(Path(folder), overwrite) as place, track("Exporting", sum(sizes.values())) as advance:
        word = next(name for name, short in DTYPE_NAMES.items() if short == kind)
        ids = _ids(special)
        head = {"architectures": [family.class_name], "model_type": family.model_types[0]}
        _write_json(place / "config.json", {**head, **ids, **config, "dtype": word, "torch_dtype": word})
        _write_json(place / "generation_config.json", write_generation(metadata.generation, {**ids, **_rules(special)}))
        settings = None
        if family.pair_tokenizer is not None and metadata.source_tokenizer is not None:
            settings = write_tokenizer_pair(place, metadata.source_tokenizer, metadata.tokenizer)
        write_tokenizer(
            place,
            metadata.tokenizer,
            special,
            metadata.chat_template,
            context=metadata.architecture.context,
            settings=settings and {"tokenizer_class": family.pair_tokenizer, **settings},
        )
        write_remainder(place, metadata)
        shards = _shards(sizes, shard)
        for name, tensors in shards.items():
            some = {each: theirs[each] for each in tensors}
            _write_shard(place / name, some, weights, kind, factors, advance)
        if len(shards) > 1:
            table = {tensor: name for name, tensors in shards.items() for tensor in tensors}
            _write_json(place / INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": table})
    return Exported(family.name, tuple(shards))


def own_dtype(entries: Mapping[str, TensorInfo]) -> str:
    """The type of a model's numbers; what is of 8 bits stands for F32."""
    return next((entry.dtype for entry in entries.values() if entry.dtype != INT8), "F32")


def choose_family(architecture: Architecture) -> tuple[Family, dict[str, Any], Architecture]:
    """The first family that has this shape, the fields of its config.json, and the architecture that these describe.

    That is the one given, or one whose queries take the scale of the scores upon themselves.

    Raises:
        OpenbookError: there is none; names the nearest, and what it lacks.
    """
    try:
        return _fitting(architecture)
    except OpenbookError:
        folded = without_scales(architecture)
        if folded == architecture:
            raise
        try:
            return _fitting(folded)
        except OpenbookError:
            pass
        raise


def _fitting(architecture: Architecture) -> tuple[Family, dict[str, Any], Architecture]:
    nearest: tuple[list[str], Family] | None = None
    for family in FAMILIES:
        try:
            config = family.write(architecture)
            again = family.read(Fields(config))
        except (OpenbookError, ValidationError):
            continue  # something is there that its config.json has no word for
        if again == architecture:
            try:
                list(links(architecture, family.tables(architecture)[0]))
            except OpenbookError:
                continue
            return family, config, architecture
        apart = list(_differences(asdict(architecture), asdict(again)))
        if nearest is None or len(apart) < len(nearest[0]):
            nearest = apart, family
    if nearest is None:
        raise OpenbookError("no family of Hugging Face has this shape")
    lacks = ", ".join(nearest[0][:5]) + (" …" if len(nearest[0]) > 5 else "")
    raise OpenbookError(f"no family of Hugging Face has this shape; the nearest, {nearest[1].name}, differs in {lacks}")


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in one.keys() | other.keys():
            yield from _differences(one.get(name), other.get(name), f"{path}.{name}" if path else name)
    elif isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        found = {each for pair in zip(one, other, strict=True) for each in _differences(*pair, path)}
        yield from sorted(found)
    elif one != other:
        yield path


def their_tensors(architecture: Architecture, family: Family) -> dict[str, tuple[Shape, list[Link]]]:
    """Their tensors with shapes, and the links to what of ours they are made of."""
    ours = expected_shapes(architecture)
    parts: dict[str, list[tuple[Link, Shape]]] = {}
    for link in links(architecture, family.tables(architecture)[0]):
        parts.setdefault(link.theirs, []).append((link, ours[link.ours][len(link.ours_at) :]))
    return {name: (extent(each), [link for link, _ in each]) for name, each in parts.items()}


def _shards(sizes: Mapping[str, int], most: int) -> dict[str, list[str]]:
    """File name → tensors in it."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if groups[-1] and filled + size > most:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    if len(groups) == 1:
        return {SINGLE: groups[0]}
    return {f"model-{n:05}-of-{len(groups):05}.safetensors": group for n, group in enumerate(groups, start=1)}


def _write_shard(
    path: Path,
    tensors: Mapping[str, tuple[Shape, list[Link]]],
    weights: Weights,
    kind: str,
    factors: Mapping[str, float],
    advance: Advance,
) -> None:
    shapes = {name: (kind, shape) for name, (shape, _) in tensors.items()}
    parts = (assembled(shape, each, weights, DTYPES[kind], factors) for shape, each in tensors.values())
    with atomic_write(path) as file:
        write_parts(file, {"format": "pt"}, shapes, parts, advance)


def assembled(
    shape: Shape, parts: list[Link], weights: Weights, dtype: torch.dtype, factors: Mapping[str, float]
) -> Tensor:
    """One of their tensors; rows that no link reaches are never used, and zero."""
    whole = torch.zeros(shape, dtype=dtype)
    for link in parts:
        part = weights.read(link.ours, link.ours_at)
        if link.ours in factors:
            part = (part.float() * factors[link.ours]).to(part.dtype)
        whole[link.theirs_at] = (part.mT if link.transposed else part).to(dtype)
    return whole


def _ids(special: SpecialTokens) -> dict[str, Any]:
    """Special tokens as config.json and generation_config.json name them."""
    ids: dict[str, Any] = {
        "bos_token_id": special.beginning,
        "eos_token_id": special.end[0] if len(special.end) == 1 else list(special.end),
        "pad_token_id": special.padding,
        "decoder_start_token_id": special.decoder_start,
    }
    return {name: value for name, value in ids.items() if value is not None}


def _rules(special: SpecialTokens) -> dict[str, Any]:
    """What may not or must come in an answer, as generation_config.json names it."""
    first = special.forced_beginning
    rules = {
        "forced_bos_token_id": first[0] if len(first) == 1 else list(first) or None,
        "forced_eos_token_id": special.forced_end,
        "bad_words_ids": [[token] for token in special.suppressed] or None,
    }
    return {name: value for name, value in rules.items() if value is not None}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
