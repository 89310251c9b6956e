"""Write a model file in another program's format: a Hugging Face folder or a GGUF file."""

import os
from dataclasses import dataclass
from pathlib import Path

from openbook.errors import SettingError
from openbook.interop.gguf.block_types import WRITTEN
from openbook.interop.gguf.exporting import write_gguf
from openbook.interop.gguf.mixtures import MIXTURES
from openbook.interop.huggingface.conversion import convert
from openbook.interop.huggingface.exporting import write_folder
from openbook.interop.peft.exporting import CONFIG, WEIGHTS, write_peft
from openbook.model_file.adapter import files_of_model
from openbook.model_file.dtypes import DTYPE_NAMES, EXPORT_DTYPES, INT4
from openbook.model_file.merging import open_adapter
from openbook.model_file.opening import error_context, open_model_file
from openbook.model_file.output_path import check_output_file, check_output_folder
from openbook.progress import Track, silent

FORMATS = {
    "hf": EXPORT_DTYPES,
    "gguf": {**EXPORT_DTYPES, **WRITTEN, **{name.lower(): name for name in MIXTURES}},
    "peft": {},
}
"""The formats and, for each, the dtypes it can have: typed name → name in the file."""

MAX_SHARD_BYTES = 5_000_000_000


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        family: the family whose shape the model has.
        files: those with its weights.
        notes: what was replaced or left out, a line each.
    """

    family: str
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()


def export_model(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    to: str,
    *,
    dtype: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    overwrite: bool = False,
    track: Track = silent,
) -> Exported:
    """Write a model for other programs. The folder or file appears whole or not at all.

    The family is chosen by the architecture alone: the first whose config.json, read back, gives the same architecture.

    Args:
        model: a model file or an adapter, which is exported with its base, as one model.
        output: the folder or file to make; a folder may exist if it is empty.
        to: "hf" for a folder that transformers loads, or "gguf"; "peft" for the adapter alone, in a folder that PEFT
            loads.
        dtype: float32, float16 or bfloat16; for GGUF also q8_0, q6_k … q4_0, q5_k_m and q4_k_m. None keeps the model's
            own; int8 and int4 become float32, which is said. In a GGUF file vectors are always float32.
        max_shard_bytes: the most bytes of one file of weights in a folder; a larger tensor gets a file of its own.
        overwrite: replace an existing output, but never the model itself.
        track: shows progress, in bytes.

    Raises:
        OpenbookError: the format has no place for this architecture or tokenizer, the output is there already, or a
            file cannot be read or written.
    """
    model, output = Path(model), Path(output)
    _check_settings(to, dtype, max_shard_bytes)
    adapter = open_adapter(model)
    opened = open_model_file(model) if adapter is None else adapter.base
    if to == "peft":
        check_output_folder(output, files_of_model(model), overwrite, CONFIG)
        if adapter is None:
            raise SettingError(f"`to` peft: is for adapters, and {model} is a whole model; export it with `to` hf")
        with error_context(model):
            return Exported(write_peft(output, adapter, overwrite), (WEIGHTS,))
    if to == "gguf":
        check_output_file(output, files_of_model(model), overwrite)
    else:
        check_output_folder(output, files_of_model(model), overwrite, "config.json")
    with error_context(model):
        if adapter is None:
            conversion = convert(model, opened)
        else:
            conversion = convert(adapter.path, adapter.described(), adapter.updates)
    stored = conversion.dtype if dtype is None else FORMATS[to][dtype]
    notes = _unpacked(conversion.layout, to) if dtype is None else []
    if to == "gguf":
        notes += write_gguf(output, conversion, model, dtype=stored, track=track)
        return Exported(conversion.family.name, (output.name,), tuple(notes))
    files = write_folder(
        output, conversion, dtype=stored, max_shard_bytes=max_shard_bytes, overwrite=overwrite, track=track
    )
    return Exported(conversion.family.name, tuple(files), tuple(notes))


def _unpacked(layout: str, to: str) -> list[str]:
    """What to know of a quantized model whose numbers become float32 because no dtype was given."""
    if layout in DTYPE_NAMES:
        return []
    quantized, smaller = ("int4", "q4_1") if layout == INT4 else ("int8", "q8_0")
    other = smaller if to == "gguf" else "bfloat16"
    return [f"its {quantized} matrices are written as float32: the same numbers in more room; dtype {other} takes less"]


def _check_settings(to: str, dtype: str | None, max_shard_bytes: int) -> None:
    if to not in FORMATS:
        raise SettingError(f"`to` {to}: must be one of {', '.join(FORMATS)}")
    if max_shard_bytes < 1:
        raise SettingError(f"`max_shard_size` {max_shard_bytes}: must be more than 0")
    if to == "peft" and dtype is not None:
        raise SettingError("`dtype`: is not for PEFT's format, which keeps the adapter's numbers as they are")
    if dtype is not None and dtype not in FORMATS[to]:
        raise SettingError(f"`dtype` {dtype}: must be one of {', '.join(FORMATS[to])}")
