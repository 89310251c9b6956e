"""LoRA adapters: a low-rank update of a model in a small file of its own (Hu et al. 2021, eq. 3).

An adapter names its base model, a file in the same folder, and recognises it by a fingerprint. Every command that takes
a model file takes an adapter too: the weights are then those of the base with the update added.
"""

import hashlib
import json
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from openbook.errors import OpenbookError
from openbook.model_file.file import load, map_tensors
from openbook.model_file.file_type import ADAPTER_FIELD as FIELD
from openbook.model_file.file_type import looks_like_adapter, path_problem
from openbook.model_file.header import DAMAGED, MAX_HEADER, Shape, looks_like_safetensors, read_header
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.opening import error_context
from openbook.model_file.torch_dtypes import narrowed
from openbook.model_file.writing import write_tensors
from openbook.text.strict_json import read_json

MAX_JSON = 4_000_000
SAMPLE_COUNT, SAMPLE_BYTES = 256, 4096
"""How many samples of a model file its fingerprint reads, and the bytes of each."""
LORA_A, LORA_B = ".a", ".b"
"""Suffixes of the names of A (rank, in) and B (out, rank)."""


@dataclass(frozen=True)
class Adapter:
    """What an adapter's file says besides its tensors.

    Attributes:
        base: name of the file with the model that it changes: weight + scale · B · A replaces some of its weights.
        fingerprint: of that file.
        scale: see above.
        training: the training record.
    """

    base: str
    fingerprint: str
    scale: float
    training: dict[str, Any]


@dataclass(frozen=True)
class Update:
    """The change of one matrix `name`: weight + scale · B · A, with A (rank, in) and B (out, rank).

    Of the matrices of experts, A is (E, rank, in) and B (E, out, rank).
    """

    name: str
    a: Tensor
    b: Tensor
    scale: float

    def of_expert(self, index: int) -> "Update":
        """The change of one expert's matrix, as of a model with one expert."""
        return replace(self, a=self.a[index : index + 1], b=self.b[index : index + 1])

    def product(self) -> Tensor:
        """scale · B · A in float32, of the weight's shape."""
        return self.scale * (self.b.float() @ self.a.float())

    def added_to(self, weight: Tensor) -> Tensor:
        """The weight with the change, in the weight's dtype.

        Raises:
            OpenbookError: a number does not fit in that.
        """
        return narrowed(self.name, weight.float() + self.product(), weight.dtype)


def fingerprint(path: Path) -> str:
    """A hash of a model file's header, length and evenly spread samples, so that large files are recognised at once."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size, start = path.stat().st_size, file.read(8)
        digest.update(start + file.read(min(int.from_bytes(start, "little"), MAX_HEADER)))
        digest.update(size.to_bytes(8, "little"))
        for number in range(SAMPLE_COUNT):
            file.seek(max(0, size - SAMPLE_BYTES) * number // (SAMPLE_COUNT - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def save_adapter(path: Path, adapter: Adapter, tensors: Mapping[str, Tensor]) -> None:
    """Write an adapter, whole or not at all.

    Args:
        path: in the folder of the model that it changes.
        adapter: what the file says.
        tensors: A and B, named as the weight that they change with `.a` and `.b` at the end.

    Raises:
        OpenbookError: the disk is full or cannot be written.
    """
    metadata = {"base": adapter.base, "fingerprint": adapter.fingerprint, "scale": adapter.scale}
    write_tensors(path, {FIELD: json.dumps(metadata), "training": json.dumps(adapter.training)}, tensors)


def load_merged(path: str | os.PathLike[str]) -> tuple[ModelMetadata, dict[str, Tensor]]:
    """Metadata and tensors of a model file or, of an adapter, those of its base with the update added.

    Raises:
        OpenbookError: naming the file, what is wrong with it, and the cure.
    """
    found = read_adapter(path)
    if found is None:
        return load(path)
    path, (adapter, changes) = Path(path), found
    with error_context(path):
        base = base_of(path, adapter)
        metadata, tensors = load(base)
        for name, update in updates_of(adapter, changes, shapes_of(tensors)).items():
            tensors[name] = update.added_to(tensors[name])
    return replace(metadata, training=adapter.training), tensors


def base_of(path: Path, adapter: Adapter) -> Path:
    """The file of an adapter's base model.

    Raises:
        OpenbookError: it is not beside the adapter, or has another fingerprint.
    """
    base = path.parent / adapter.base
    if Path(adapter.base).name != adapter.base or adapter.base in ("", ".", ".."):
        raise OpenbookError("its base is not the name of a file in its own folder; the adapter is damaged")
    if not base.is_file():
        raise OpenbookError(
            f"is an adapter of {adapter.base}, which is not beside it; put that model into {path.parent}"
        )
    if fingerprint(base) != adapter.fingerprint:
        raise OpenbookError(f"is an adapter of another {adapter.base} than the one beside it; put the right one there")
    return base


def files_of_model(path: Path | None) -> list[Path]:
    """The files that a model is read from: its own and, of an adapter, its base's; none for None."""
    if path is None:
        return []
    found = read_adapter(path)
    return [path] if found is None else [path, path.parent / found[0].base]


def read_adapter(path: str | os.PathLike[str]) -> tuple[Adapter, dict[str, Tensor]] | None:
    """An adapter and its tensors, mapped but not read; None where the file is something else.

    Raises:
        OpenbookError: it is an adapter, and damaged.
    """
    path = Path(path)
    with error_context(path):
        if path_problem(path) is not None or not looks_like_adapter(path):
            return None  # `load` reports what is wrong
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        if not looks_like_safetensors(data[:9]):
            return None
        header = read_header(data)
        if FIELD not in header.metadata:
            return None
        fields = read_json(f"field {FIELD}", header.metadata[FIELD], MAX_JSON)
        training = read_json("field training", header.metadata.get("training", "{}"), MAX_JSON)
        match fields:
            case {"base": str(base), "fingerprint": str(known), "scale": float() | int() as scale, **rest} if not rest:
                if not abs(scale) <= 1e6 or not isinstance(training, dict):
                    raise OpenbookError(f"field {FIELD}: its scale or training record is not valid; {DAMAGED}")
                return Adapter(base, known, float(scale), training), map_tensors(header, data)
        raise OpenbookError(f"field {FIELD}: should have base, fingerprint and scale; {DAMAGED}")


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """The shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def updates_of(adapter: Adapter, changes: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> dict[str, Update]:
    """The update of each weight that an adapter changes, by the weight's name.

    Args:
        adapter: gives the scale.
        changes: its tensors.
        shapes: of the base's tensors.

    Raises:
        OpenbookError: a tensor has no counterpart, changes no matrix of the base, does not fit it, or is not finite.
    """
    updates = {}
    for suffixed, tensor in changes.items():
        name = suffixed.removesuffix(LORA_A).removesuffix(LORA_B)
        a, b, shape = changes.get(name + LORA_A), changes.get(name + LORA_B), shapes.get(name, ())
        if a is None or b is None or len(shape) not in (2, 3):
            raise OpenbookError(f"tensor {suffixed}: changes no matrix of its base; {DAMAGED}")
        *experts, outputs, inputs = shape
        rank = a.shape[-2] if a.ndim == len(shape) else 0
        if tuple(a.shape) != (*experts, rank, inputs) or tuple(b.shape) != (*experts, outputs, rank):
            whole = " × ".join(map(str, shape))
            raise OpenbookError(f"tensor {suffixed}: its shape does not fit {name} ({whole}); {DAMAGED}")
        if not tensor.isfinite().all():
            raise OpenbookError(f"tensor {suffixed}: has numbers that are not finite; {DAMAGED}")
        updates[name] = Update(name, a, b, adapter.scale)
    return updates
