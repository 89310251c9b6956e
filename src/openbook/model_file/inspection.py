"""What a model file includes, as data ready for JSON; `display` prints it."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor

from openbook.model_file.adapter import LORA_A, Adapter, read_adapter
from openbook.model_file.architecture_json import write_architecture
from openbook.model_file.architecture_summary import summarize
from openbook.model_file.dtypes import DTYPE_NAMES, INT4, INT8
from openbook.model_file.header import MAX_HEADER
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.opening import ModelFile, error_context, open_model_file
from openbook.model_file.quantized_specs import SUFFIXES, layout_of, model_specs
from openbook.model_file.tensor_shapes import expected_shapes
from openbook.text.strict_json import read_json
from openbook.text.tokenizer.tokenizer import Tokenizer

SAMPLE_SENTENCE = "What can you do? A model file keeps everything."
_SAMPLES = 16


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Everything in a model file but the numbers of its tensors, ready for JSON.

    Keys: `file`, `bytes`, `format`, `dtype`, `parameters`, `architecture` (`summary` and all `fields`), `parts` (each
    with `name`, `parameters`, `bytes`, `share` of all parameters, and `tensors`: `name`, `shape`, `parameters`, `bytes`
    and `offset`, the place of its first byte in the file, and for a quantized matrix `scale_offset` and perhaps
    `offset_offset`, those of its scales and offsets), `tokenizer`, `chat_template`, `generation`, `training`,
    `license`. An adapter has `adapter` (`base`, `fingerprint`, `scale`, and `changes`: `name` and `rank`) in place of
    what belongs to its base.
    Strings are as the file has them: escape them before they reach a terminal or a page.

    Raises:
        OpenbookError: the file is not a model file that could be loaded.
    """
    path = Path(path)
    found = read_adapter(path)
    if found is not None:
        return describe_adapter(path, *found)
    opened = open_model_file(path)
    metadata = opened.metadata
    with error_context(path):
        tokenizer = _tokenizer(metadata)
    parts = list(_parts(opened))
    parameters = sum(part["parameters"] for part in parts)
    return {
        "file": str(path),
        "bytes": len(opened.data),
        "format": metadata.format,
        "dtype": _dtype({info.dtype for info in opened.header.tensors.values()}),
        "parameters": parameters,
        "architecture": {
            "summary": summarize(metadata.architecture),
            "fields": json.loads(write_architecture(metadata.architecture)),
        },
        "parts": [part | {"share": part["parameters"] / parameters} for part in parts],
        "tokenizer": tokenizer,
        "chat_template": metadata.chat_template,
        "generation": metadata.generation,
        "training": metadata.training,
        "license": metadata.license,
    }


def describe_tensors(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The tensors of a model file as `describe` lists them, without all that it tells besides; none of an adapter.

    Raises:
        OpenbookError: the file is not a model file that could be loaded.
    """
    if read_adapter(path) is not None:
        return []
    return [tensor for part in _parts(open_model_file(Path(path))) for tensor in part["tensors"]]


def describe_adapter(path: Path, adapter: Adapter, changes: Mapping[str, Tensor]) -> dict[str, Any]:
    """What an adapter includes, as `describe` says it."""
    ranks = {name[: -len(LORA_A)]: tensor.shape[0] for name, tensor in changes.items() if name.endswith(LORA_A)}
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "parameters": sum(tensor.numel() for tensor in changes.values()),
        "adapter": {
            "base": adapter.base,
            "fingerprint": adapter.fingerprint,
            "scale": adapter.scale,
            "changes": [{"name": name, "rank": rank} for name, rank in ranks.items()],
        },
        "training": adapter.training,
    }


def _parts(opened: ModelFile) -> Iterator[dict[str, Any]]:
    """Tensors grouped by part (block, embedding, …), in the order in which the model uses them."""
    entries = opened.header.tensors
    whole = model_specs({name: (info.dtype, info.shape) for name, info in entries.items()})
    for part, names in groupby(expected_shapes(opened.metadata.architecture), key=_part_of):
        tensors: list[dict[str, Any]] = [
            {
                "name": name,
                "shape": list(whole[name][1]),
                "parameters": math.prod(whole[name][1]),
                "bytes": sum(entries[each].end - entries[each].begin for each in (name, *_beside(name, opened))),
                "offset": entries[name].begin,
            }
            | {f"{each.rpartition('.')[2]}_offset": entries[each].begin for each in _beside(name, opened)}
            for name in names
        ]
        yield {
            "name": part,
            "parameters": sum(tensor["parameters"] for tensor in tensors),
            "bytes": sum(tensor["bytes"] for tensor in tensors),
            "tensors": tensors,
        }


def _beside(name: str, opened: ModelFile) -> list[str]:
    """The names of a quantized matrix's scales and offsets."""
    return [name + suffix for suffix in SUFFIXES.get(opened.header.tensors[name].dtype, ())]


def _dtype(kinds: set[str]) -> str:
    """The dtype of the weights in words."""
    match layout_of(kinds):
        case str(layout) if layout == INT4:
            return "int4 matrices with a float16 scale and offset for each group of 32, int8 embeddings"
        case str(layout) if layout == INT8 and "F16" in kinds:
            return "int8 matrices with a float32 scale for each row, or a float16 one for each group of 32"
        case str(layout) if layout == INT8:
            return "int8 matrices with a float32 scale for each row"
        case layout:
            return DTYPE_NAMES[layout]


def _part_of(tensor: str) -> str:
    """decoder.blocks.3.feed_forward.up.weight → decoder.blocks.3; decoder.final_norm.weight → decoder.final_norm."""
    pieces = tensor.split(".")
    return ".".join(pieces[:3] if pieces[1] == "blocks" else pieces[:-1])


def _tokenizer(metadata: ModelMetadata) -> dict[str, Any]:
    """Model type, size, special tokens, an even sample of the vocabulary, and a sentence in tokens."""
    tokenizer = metadata.make_tokenizer()
    model = read_json("field tokenizer", metadata.tokenizer, MAX_HEADER)["model"]
    special, step = set(tokenizer.special_ids.values()), max(1, tokenizer.vocab_size // _SAMPLES)
    samples = [number for number in range(step - 1, tokenizer.vocab_size, step) if number not in special]
    return {
        "kind": str(model.get("type")),
        "vocab_size": tokenizer.vocab_size,
        "merges": len(model.get("merges", ())),
        "special_tokens": tokenizer.special_ids,
        "samples": _tokens(tokenizer, samples[:_SAMPLES]),
        "sentence": {"text": SAMPLE_SENTENCE, "tokens": _tokens(tokenizer, tokenizer.encode(SAMPLE_SENTENCE))},
    }


def _tokens(tokenizer: Tokenizer, ids: list[int]) -> list[dict[str, Any]]:
    left_out = set(tokenizer.ids_without_token(tokenizer.vocab_size))
    return [{"id": number, "text": tokenizer.token_text(number)} for number in ids if number not in left_out]
