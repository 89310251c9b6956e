"""What Ollama's clients ask about models."""

import hashlib
import json
import math
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from openbook.errors import OpenbookError
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.opening import open_model_file
from openbook.model_file.quantized_specs import model_specs
from openbook.model_file.tensor_shapes import expected_shapes
from openbook.web.api.ollama.answers import timestamp
from openbook.web.serve.registry import Entry

FAMILY = "openbook"
FOREVER = 100 * 365 * 86400
"""Seconds from now at which a model ends that stays for good; their clients need a date."""


def tag(entry: Entry, metadata: ModelMetadata) -> dict[str, Any]:
    """A model in a list."""
    return {
        "name": entry.id,
        "model": entry.id,
        "modified_at": timestamp(entry.modified),
        "size": entry.size,
        "digest": _digest(entry, metadata),
        "details": details(entry, metadata),
        "capabilities": capabilities(metadata),
    }


def process(entry: Entry, metadata: ModelMetadata) -> dict[str, Any]:
    """A model in memory, and when it leaves."""
    left = FOREVER if entry.expires_in is None else entry.expires_in
    return {
        "name": entry.id,
        "model": entry.id,
        "size": entry.size,
        "digest": _digest(entry, metadata),
        "details": details(entry, metadata),
        "expires_at": timestamp(time.time() + left),
        "size_vram": 0,
        "context_length": metadata.architecture.context,
    }


def show(entry: Entry, metadata: ModelMetadata) -> dict[str, Any]:
    """Everything about a model but its numbers."""
    spec = metadata.architecture
    info = {
        "general.architecture": FAMILY,
        "general.parameter_count": _size(entry.path, entry.size, entry.modified)[0],
        f"{FAMILY}.context_length": spec.context,
        f"{FAMILY}.embedding_length": spec.width,
        f"{FAMILY}.block_count": len(spec.decoder.blocks),
        f"{FAMILY}.vocab_size": spec.vocab_size,
    }
    return {
        "license": metadata.license or "",
        "modelfile": "",
        "parameters": "\n".join(_parameters(metadata)),
        "template": metadata.chat_template or "",
        "details": details(entry, metadata),
        "model_info": info,
        "capabilities": capabilities(metadata),
        "modified_at": timestamp(entry.modified),
    }


def details(entry: Entry, metadata: ModelMetadata) -> dict[str, Any]:
    """A model in a few words."""
    parameters, dtype = _size(entry.path, entry.size, entry.modified)
    return {
        "parent_model": "",
        "format": "safetensors",
        "family": FAMILY,
        "families": [FAMILY],
        "parameter_size": _in_words(parameters),
        "quantization_level": dtype,
        "context_length": metadata.architecture.context,
        "embedding_length": metadata.architecture.width,
    }


def capabilities(metadata: ModelMetadata) -> list[str]:
    """What a model can be asked for, in their words."""
    return ["completion", *(["tools"] if "tools" in (metadata.chat_template or "") else [])]


def _parameters(metadata: ModelMetadata) -> list[str]:
    """The model's own settings, a line each."""
    lines = []
    for name, value in metadata.generation.items():
        for each in value if isinstance(value, list) else [value]:
            lines.append(f"{name} {json.dumps(each, ensure_ascii=False)}")
    return lines


def _digest(entry: Entry, metadata: ModelMetadata) -> str:
    """Of the header and the size: enough to tell one model from another without reading all of it."""
    text = json.dumps([entry.size, metadata.to_header()])
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=64)
def _size(path: Path, size: int, modified: float) -> tuple[int, str]:
    """Parameters and dtype of a model file as it is now; nothing of an adapter, whose base has them."""
    try:
        opened = open_model_file(path)
    except OpenbookError:
        return 0, ""
    found = {name: (info.dtype, info.shape) for name, info in opened.header.tensors.items()}
    specs = model_specs(found)
    names = list(expected_shapes(opened.metadata.architecture))
    kinds = [info.dtype for info in opened.header.tensors.values()]
    return sum(math.prod(specs[name][1]) for name in names), max(set(kinds), key=kinds.count)


def _in_words(count: int) -> str:
    """135M, 7.2B."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)
