"""Write a model as a folder that transformers loads, one tensor after another, in shards where there is much of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openbook.interop.huggingface.conversion import Conversion
from openbook.interop.huggingface.extra_metadata import write_extra_metadata
from openbook.interop.huggingface.generation_config import write_generation_config
from openbook.interop.huggingface.weights import INDEX, SINGLE
from openbook.interop.tokenizers import write_tokenizer, write_tokenizer_pair
from openbook.model_file.atomic import atomic_folder, atomic_write
from openbook.model_file.dtypes import EXPORT_DTYPES
from openbook.model_file.torch_dtypes import DTYPES, HEADER_NAMES, NumberCast
from openbook.model_file.writing import TensorWriter
from openbook.progress import Advance, Track
from openbook.text.tokenizer.special_tokens import SpecialTokens


def write_folder(
    folder: Path,
    conversion: Conversion,
    *,
    dtype: str,
    max_shard_bytes: int,
    overwrite: bool,
    track: Track,
) -> list[str]:
    """Write a folder, whole or not at all; the names of its files of weights.

    Args:
        folder: must not exist, or be empty, unless `overwrite`.
        conversion: the model in its family's form.
        dtype: F32, F16 or BF16.
        max_shard_bytes: the most bytes of a file of weights; a larger tensor gets a file of its own.
        overwrite: replace an existing folder.
        track: shows progress, in bytes.

    Raises:
        OpenbookError: the folder is there already, a number does not fit in the dtype, or a file cannot be read or
            written.
    """
    item = DTYPES[dtype].itemsize
    sizes = {name: item * count_numbers(shape) for name, shape in conversion.shapes.items()}
    shards = _shards(sizes, max_shard_bytes)
    with atomic_folder(folder, overwrite) as place, track("Exporting", sum(sizes.values())) as advance:
        _write_configs(place, conversion, dtype)
        _write_tokenizer(place, conversion)
        write_extra_metadata(place, conversion.metadata)
        cast = NumberCast(DTYPES[dtype])
        for file, names in shards.items():
            _write_shard(place / file, names, conversion, cast, advance)
        cast.check()
        if len(shards) > 1:
            table = {tensor: file for file, names in shards.items() for tensor in names}
            _write_json(place / INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": table})
    return list(shards)


def count_numbers(shape: tuple[int, ...]) -> int:
    """Numbers in a tensor of this shape, exactly."""
    count = 1
    for length in shape:
        count *= length
    return count


def _write_configs(folder: Path, conversion: Conversion, dtype: str) -> None:
    """config.json and generation_config.json."""
    special = conversion.special_tokens
    family, ids = conversion.family, _special_token_ids(special, conversion.architecture.encoder is not None)
    typed = next(name for name, short in EXPORT_DTYPES.items() if short == dtype)
    config = {"architectures": [family.class_name], "model_type": family.model_types[0], **ids, **conversion.config}
    _write_json(folder / "config.json", {**config, "dtype": typed, "torch_dtype": typed})
    ids |= {name: value for name, value in conversion.config.items() if name == "use_cache"}
    generation = write_generation_config(conversion.metadata.generation, {**ids, **_forced_tokens(special)})
    _write_json(folder / "generation_config.json", generation)


def _write_tokenizer(folder: Path, conversion: Conversion) -> None:
    metadata = conversion.metadata
    tokenizer_class, settings = conversion.family.pair_tokenizer, None
    if tokenizer_class is not None and metadata.source_tokenizer is not None:
        pair = write_tokenizer_pair(folder, metadata.source_tokenizer, metadata.tokenizer)
        settings = pair and {"tokenizer_class": tokenizer_class, **pair}
    write_tokenizer(
        folder,
        metadata.tokenizer,
        conversion.special_tokens,
        metadata.chat_template,
        context=metadata.architecture.context,
        settings=settings,
    )


def _shards(sizes: Mapping[str, int], max_shard_bytes: int) -> dict[str, list[str]]:
    """File name → tensors in it."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if groups[-1] and filled + size > max_shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    if len(groups) == 1:
        return {SINGLE: groups[0]}
    return {f"model-{n:05}-of-{len(groups):05}.safetensors": group for n, group in enumerate(groups, start=1)}


def _write_shard(path: Path, names: list[str], conversion: Conversion, cast: NumberCast, advance: Advance) -> None:
    shapes, dtype = conversion.shapes, HEADER_NAMES[cast.dtype]
    with atomic_write(path) as file:
        writer = TensorWriter(file, {"format": "pt"}, {name: (dtype, shapes[name]) for name in names}, advance)
        for name in names:
            writer.write(conversion.read(name, cast))
        writer.close()


def _special_token_ids(special: SpecialTokens, encoder_decoder: bool) -> dict[str, Any]:
    """Special tokens as config.json and generation_config.json name them.

    An encoder-decoder's default ids in transformers may be ordinary tokens here, or none: so the end stands in.
    """
    stands_in = special.end[0] if encoder_decoder else None
    ids: dict[str, Any] = {
        "bos_token_id": special.beginning,
        "eos_token_id": special.end[0] if len(special.end) == 1 else list(special.end),
        "pad_token_id": stands_in if special.padding is None else special.padding,
        "decoder_start_token_id": stands_in if special.decoder_start is None else special.decoder_start,
    }
    return {name: value for name, value in ids.items() if value is not None}


def _forced_tokens(special: SpecialTokens) -> dict[str, Any]:
    """Tokens that must or must not come in an answer, as generation_config.json names them."""
    first = special.forced_beginning
    rules = {
        "forced_bos_token_id": first[0] if len(first) == 1 else list(first) or None,
        "forced_eos_token_id": special.forced_end,
        "bad_words_ids": [[token] for token in special.suppressed] or None,
    }
    return {name: value for name, value in rules.items() if value is not None}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
