"""Small real model files, and ways to take them apart and put them together wrongly."""

import json
import os
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from openbook.model_file.file import save
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.training import train_tokenizer
from openbook.transformer.architecture import Architecture
from strategies import DEFAULT, build

TRAINING = {
    "data": [{"name": "emma.txt", "sha256": "ab" * 32}],
    "recipe": {"matrix_lr": 0.03, "adamw_betas": [0.8, 0.95]},
    "seed": 1,
    "steps": 3,
    "losses": [{"step": step, "training": 4.0 / step, "validation": None} for step in (1, 2, 3)],
    "versions": {"openbook": "0.1.0"},
    "date": "2026-01-31T12:00:00+00:00",
}


@cache
def tokenizer_text() -> str:
    return train_tokenizer(["What can you do?"], "characters", 23).to_json()


def metadata_of(architecture: Architecture = DEFAULT) -> ModelMetadata:
    return ModelMetadata(
        architecture=architecture,
        tokenizer=tokenizer_text(),
        chat_template="{% for message in messages %}\n{{ message.content }}{% endfor %} „ü“",
        generation={"temperature": 0.8, "top_k": 40, "stop": ["\n\n"]},
        training=TRAINING,
        license="Apache-2.0",
    )


def tensors_of(architecture: Architecture = DEFAULT, seed: int = 0) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in build(architecture, seed).state_dict().items()}


@cache
def small_file() -> bytes:
    """The bytes of a real model file of the default architecture."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "small.openbook")
        save(path, metadata_of(), tensors_of())
        return path.read_bytes()


def take_apart(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header as an object, and the tensors' bytes."""
    start = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:start]), data[start:]


def put_together(header: Mapping[str, Any] | str | bytes, payload: bytes, align: int = 8) -> bytes:
    """A file with this header, whatever it says."""
    text = header if isinstance(header, str | bytes) else json.dumps(header)
    raw = text if isinstance(text, bytes) else text.encode()
    raw += b" " * (-len(raw) % align)
    return len(raw).to_bytes(8, "little") + raw + payload


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Equal dtype, shape and bits; NaN equals itself."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.flatten().view(torch.uint8), other.flatten().view(torch.uint8))


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process, which exits with 0 where it ends and with 1 where it raises; its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return child
