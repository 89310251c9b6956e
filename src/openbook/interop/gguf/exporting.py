"""Write a model as a GGUF file, one tensor after another."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from openbook.errors import OpenbookError, SettingError
from openbook.interop.gguf.architectures import ARCHITECTURE_OF, ARCHITECTURES, GgufArchitecture
from openbook.interop.gguf.block_types import dequantize, library, quantize, readable_types, type_for_rows
from openbook.interop.gguf.config import head_width_of
from openbook.interop.gguf.fields import GgufFields
from openbook.interop.gguf.mixtures import type_of
from openbook.interop.gguf.rotary import frequency_divisors
from openbook.interop.gguf.tensor_names import gguf_name, module_of
from openbook.interop.gguf.tokenizer_export import tokenizer_fields
from openbook.interop.gguf.weights import ROPE_FREQS
from openbook.interop.huggingface.conversion import Conversion
from openbook.interop.huggingface.families.registry import family_of, read_architecture
from openbook.interop.huggingface.fields import ConfigFields
from openbook.model_file.atomic import atomic_write
from openbook.model_file.header import Shape
from openbook.model_file.opening import error_context
from openbook.model_file.torch_dtypes import NumberCast, check_lost
from openbook.progress import Track


@dataclass(frozen=True)
class OutputTensor:
    """A tensor of the file to write; its float32 numbers are made when they are read.

    `wanted` is the type that it would have if its rows filled whole blocks.
    """

    name: str
    type: str
    wanted: str
    shape: Shape
    read: Callable[[], torch.Tensor]


def write_gguf(path: Path, conversion: Conversion, model: Path, *, dtype: str, track: Track) -> list[str]:
    """Write a GGUF file, whole or not at all; what a person should know about it, a line each.

    Args:
        path: where to write.
        conversion: the model in its family's form.
        model: the model file, whose name the model gets.
        dtype: of the matrices: F32, F16, BF16, or one of `block_types.WRITTEN` or `MIXTURES`. Vectors are always F32.
        track: shows progress, in bytes.

    Raises:
        OpenbookError: the format has no place for this architecture or tokenizer, or a file cannot be read or written.
    """
    family, config = conversion.family, conversion.config
    with error_context(model):
        name = ARCHITECTURE_OF.get(family.model_types[0])
        if name is None:
            known = ", ".join(ARCHITECTURES)
            raise OpenbookError(f"GGUF files of the {family.name} family are not written; there are {known}")
        architecture = ARCHITECTURES[name]
        tensors = _output_tensors(conversion, architecture, dtype)
        fields = {f"{name}.{key}": value for key, value in architecture.write(config).items() if value is not None}
        _check_fields(conversion, name, fields, {tensor.name: tensor.shape for tensor in tensors})
        fields |= {"general.architecture": name, "general.name": model.stem, "general.quantization_version": 2}
        if conversion.metadata.license is not None:
            fields["general.license"] = conversion.metadata.license
        fields |= tokenizer_fields(conversion.metadata)
    divisors = _rope_divisors(config)
    if divisors is not None:
        tensors.append(OutputTensor(ROPE_FREQS, "F32", "F32", tuple(divisors.shape), lambda: divisors))
    with error_context(model):
        _write(path, fields, tensors, track)
    return _stand_ins(tensors)


def _stand_ins(tensors: list[OutputTensor]) -> list[str]:
    """A line for each type that stands in for another."""
    found = Counter((tensor.wanted, tensor.type) for tensor in tensors if tensor.type != tensor.wanted)
    count = sum(tensor.type != "F32" for tensor in tensors)
    return [
        f"{number:,} of {count:,} matrices are {name}: their rows are no whole number of {wanted} blocks"
        for (wanted, name), number in found.items()
    ]


def _rope_divisors(config: Mapping[str, Any]) -> torch.Tensor | None:
    scaling = config.get("rope_scaling")
    return scaling and frequency_divisors(scaling, config["rope_theta"], head_width_of(config))


def _output_tensors(conversion: Conversion, architecture: GgufArchitecture, dtype: str) -> list[OutputTensor]:
    """The file's tensors, in the order in which the model uses them. All experts of a block are one tensor."""
    parts: dict[str, list[str]] = {}
    for theirs in conversion.shapes:
        name = gguf_name(theirs, architecture.names)
        if name is None:
            raise OpenbookError(f"the format has no place for {theirs}")
        parts.setdefault(name, []).append(theirs)
    transforms = architecture.exported(conversion.config)
    blocks = len(conversion.architecture.decoder.blocks)
    logits = next((name for name in ("output.weight", "token_embd.weight") if name in parts), "")
    return [
        _output_tensor(conversion, name, each, transforms.get(module_of(name)[0]), type_of(dtype, name, blocks, logits))
        for name, each in parts.items()
    ]


def _output_tensor(
    conversion: Conversion,
    name: str,
    parts: list[str],
    transform: Callable[[torch.Tensor], torch.Tensor] | None,
    dtype: str,
) -> OutputTensor:
    def joined(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
        listed = list(tensors)
        whole = listed[0] if len(listed) == 1 else torch.stack(listed)
        return whole if transform is None else transform(whole)

    shapes = [conversion.shapes[part] for part in parts]
    shape = tuple(joined(torch.empty(shape, device="meta") for shape in shapes).shape)
    wanted = "F32" if _is_precise(name, shape) else dtype
    return OutputTensor(
        name,
        type_for_rows(wanted, shape[-1]),
        wanted,
        shape,
        lambda: joined(conversion.read(part, NumberCast(torch.float32)) for part in parts),
    )


def _is_precise(name: str, shape: Shape) -> bool:
    """Vectors, positions and routers stay float32."""
    return len(shape) == 1 or name.startswith("position_embd") or "ffn_gate_inp" in name


def _check_fields(conversion: Conversion, name: str, fields: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """Check that the fields, read again, give the same architecture."""
    config = ARCHITECTURES[name].read(GgufFields(fields, name, shapes))
    if _rope_divisors(conversion.config) is not None:
        config["rope_scaling"] = conversion.config["rope_scaling"]
    again = ConfigFields({name: value for name, value in config.items() if value is not None})
    if read_architecture(family_of(again), again) != conversion.architecture:
        raise SettingError("GGUF fields have no words for all of this architecture; export it with `to`=hf")


def _write(path: Path, fields: Mapping[str, Any], tensors: list[OutputTensor], track: Track) -> None:
    gguf = library()
    blocks = dict(readable_types().values())
    with atomic_write(path) as file:
        writer = gguf.GGUFWriter(Path(file.name), fields["general.architecture"])
        for name, value in fields.items():
            if name != "general.architecture":
                _add_field(writer, name, value)
        for tensor in tensors:
            size = prod(tensor.shape) // blocks[tensor.type].numbers * blocks[tensor.type].bytes
            raw = gguf.GGMLQuantizationType[tensor.type]
            plain = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16)}.get(tensor.type)
            stored = tensor.shape if plain else gguf.quants.quant_shape_to_byte_shape(tensor.shape, raw)
            writer.add_tensor_info(tensor.name, stored, plain or np.dtype(np.uint8), size, raw_dtype=raw)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        lost: Counter[str] = Counter()
        with track("Exporting", sum(4 * prod(tensor.shape) for tensor in tensors)) as advance:
            for tensor in tensors:
                numbers = np.ascontiguousarray(tensor.read().numpy())
                with np.errstate(over="ignore", invalid="ignore"):
                    stored = quantize(numbers, tensor.type)
                lost[tensor.name] += _lost(numbers, stored, tensor.type)
                writer.write_tensor_data(stored)
                advance(4 * prod(tensor.shape))
        writer.close()
        if lost.total():
            types = {tensor.type for tensor in tensors if lost[tensor.name]}
            check_lost(lost, " and ".join(sorted(types)))


def _lost(numbers: NDArray[np.float32], stored: NDArray[Any], type_name: str) -> int:
    """How many finite numbers are not finite as they are stored: scales of blocks have 16 bits."""
    if type_name == "F32" or np.abs(numbers).max(initial=0) <= np.finfo(np.float16).max:
        return 0
    with np.errstate(invalid="ignore", over="ignore"):
        again = dequantize(stored.reshape(-1), type_name).reshape(numbers.shape)
    return int((np.isfinite(numbers) & ~np.isfinite(again)).sum())


def _add_field(writer: Any, name: str, value: Any) -> None:
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
