"""A model file → a GGUF file, one tensor after another."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openbook.errors import OpenbookError
from openbook.interop.gguf.architectures import ARCHITECTURE_OF, KINDS, Given, Kind, frequencies
from openbook.interop.gguf.header import Tensor
from openbook.interop.gguf.importing import FREQUENCIES
from openbook.interop.gguf.tokenizer_writing import tokenizer_fields
from openbook.interop.gguf.weights import Change, library, types
from openbook.interop.huggingface.dequantization import query_factors
from openbook.interop.huggingface.exporting import Exported, assembled, choose_family, own_dtype, their_tensors
from openbook.interop.huggingface.fields import Fields
from openbook.interop.huggingface.importing import DTYPE_NAMES, family_of, read_architecture
from openbook.interop.huggingface.tensor_mapping import Link, Shape
from openbook.interop.huggingface.weights import Weights
from openbook.model_file.atomic import atomic_write
from openbook.model_file.file import error_context, open_model_file
from openbook.progress import Track, silent
from openbook.transformer.architecture import Architecture

TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}
"""How people call the types, and how the format does."""

Parts = Mapping[str, list[tuple[Shape, list[Link]]]]
"""A tensor of the file → what of theirs it is made of: one, or one for each expert."""


def export_gguf(
    model: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    overwrite: bool = False,
    track: Track = silent,
) -> Exported:
    """Write a model file as a GGUF file. It appears whole or not at all.

    Args:
        model: a model file.
        path: where.
        dtype: of the matrices: float32, float16, bfloat16 or q8_0; None keeps the model's own. Vectors are float32.
        overwrite: replace an existing file.
        track: shows progress, in bytes.

    Raises:
        OpenbookError: the format has no place for this architecture or tokenizer, or a file cannot be read or written.
    """
    model, path = Path(model), Path(path)
    if path.exists() and not overwrite:
        raise OpenbookError(f"{path}: is there already; give another name, or --overwrite")
    opened = open_model_file(model)
    metadata, entries = opened.metadata, opened.header.tensors
    with error_context(model):
        own = next(name for name, short in DTYPE_NAMES.items() if short == own_dtype(entries))
        if (dtype or own) not in TYPES:
            raise OpenbookError(f"--dtype {dtype}: must be one of {', '.join(TYPES)}")
        wanted = TYPES[dtype or own]
        family, config, described = choose_family(metadata.architecture)
        arch = ARCHITECTURE_OF.get(family.model_types[0])
        if arch is None:
            known = ", ".join(KINDS)
            raise OpenbookError(f"GGUF files of the {family.name} family are not written; there are {known}")
        kind = KINDS[arch]
        parts = _by_their_names(kind, their_tensors(described, family))
        factors = query_factors(metadata.architecture, described)
        fields = {f"{arch}.{name}": value for name, value in kind.fields(config).items() if value is not None}
        _check(described, arch, fields, parts, config)
        fields |= {"general.architecture": arch, "general.name": model.stem, "general.quantization_version": 2}
        if metadata.license is not None:
            fields["general.license"] = metadata.license
        fields |= tokenizer_fields(metadata)
    weights = Weights({name: (model, entry) for name, entry in entries.items()})
    changes, rotations = kind.back(config), frequencies(config)
    _write(path, arch, fields, parts, wanted, weights, factors, changes, rotations, track)
    return Exported(family.name, (path.name,))


def _by_their_names(kind: Kind, theirs: Mapping[str, tuple[Shape, list[Link]]]) -> Parts:
    """The file's tensors, each with what it is made of."""
    names = {their: ours for ours, their in kind.names.items()}
    found: dict[str, list[tuple[Shape, list[Link]]]] = {}
    for name, part in theirs.items():
        module, _, leaf = name.rpartition(".")
        pieces = module.split(".")
        numbers = [piece for piece in pieces if piece.isdigit()]
        marks = iter("#*")
        stem = ".".join(next(marks) if piece.isdigit() else piece for piece in pieces)
        if stem not in names:
            raise OpenbookError(f"the format has no place for {name}")
        ours = f"{names[stem].replace('#', numbers[0] if numbers else '')}.{leaf}"
        found.setdefault(ours, []).append(part)
    return found


def _shape(parts: list[tuple[Shape, list[Link]]], change: Change | None = None) -> Shape:
    shape = parts[0][0] if len(parts) == 1 else (len(parts), *parts[0][0])
    return shape if change is None else tuple(change(torch.empty(shape, device="meta")).shape)


def _check(
    architecture: Architecture, arch: str, fields: Mapping[str, Any], parts: Parts, config: Mapping[str, Any]
) -> None:
    """That the fields, read again, give the same architecture."""
    tensors = {name: Tensor("F32", _shape(each), 0, 0) for name, each in parts.items()}
    again = KINDS[arch].config(Given(fields, arch, tensors))
    if frequencies(config) is not None:
        again["rope_scaling"] = config["rope_scaling"]
    found = Fields({name: value for name, value in again.items() if value is not None})
    if read_architecture(family_of(found), found) != architecture:
        raise OpenbookError("GGUF fields have no words for all of this architecture; export it with --to hf")


def _write(
    path: Path,
    arch: str,
    fields: Mapping[str, Any],
    parts: Parts,
    wanted: str,
    weights: Weights,
    factors: Mapping[str, float],
    changes: Mapping[str, Change],
    rotations: torch.Tensor | None,
    track: Track,
) -> None:
    gguf = library()
    quantities = dict(types().values())
    with atomic_write(path) as file:
        writer = gguf.GGUFWriter(Path(file.name), arch)
        kinds = {}
        for name, value in fields.items():
            if name != "general.architecture":
                _add(writer, name, value)
        for name, each in parts.items():
            shape = _shape(each, changes.get(_stem(name)))
            kinds[name] = kind = _kind(name, shape, wanted)
            size = int(np.prod(shape, dtype=object)) // quantities[kind].numbers * quantities[kind].bytes
            raw = gguf.GGMLQuantizationType[kind]
            stored = shape if kind in ("F32", "F16") else gguf.quants.quant_shape_to_byte_shape(shape, raw)
            stored_dtype = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16)}.get(kind, np.dtype(np.uint8))
            writer.add_tensor_info(name, stored, stored_dtype, size, raw_dtype=raw)
        if rotations is not None:
            writer.add_tensor_info(FREQUENCIES, rotations.shape, np.dtype(np.float32), 4 * rotations.numel())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        total = sum(int(np.prod(_shape(each), dtype=object)) for each in parts.values())
        with track("Exporting", 4 * total) as advance:
            for name, each in parts.items():
                change = changes.get(_stem(name))
                tensors = [assembled(shape, links, weights, torch.float32, factors) for shape, links in each]
                whole = tensors[0] if len(tensors) == 1 else torch.stack(tensors)
                whole = whole if change is None else change(whole)
                values = gguf.quants.quantize(
                    np.ascontiguousarray(whole.numpy()), gguf.GGMLQuantizationType[kinds[name]]
                )
                writer.write_tensor_data(values)
                advance(4 * whole.numel())
        if rotations is not None:
            writer.write_tensor_data(rotations.numpy())
        writer.close()


def _kind(name: str, shape: Shape, wanted: str) -> str:
    """The type of a tensor: vectors, positions and routers stay precise; rows that fill no blocks are halved only."""
    if len(shape) == 1 or name.startswith("position_embd") or "ffn_gate_inp" in name:
        return "F32"
    return "F16" if wanted == "Q8_0" and shape[-1] % 32 else wanted


def _stem(name: str) -> str:
    parts = name.split(".")
    return ".".join(["blk", "#", *parts[2:-1]] if parts[0] == "blk" else parts[:-1])


def _add(writer: Any, name: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    else:
        writer.add_array(name, value)
