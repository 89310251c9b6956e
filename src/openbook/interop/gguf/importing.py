"""A GGUF file → a model file, one tensor after another."""

import os
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.interop.gguf.architectures import KINDS, Given, frequency_bands
from openbook.interop.gguf.header import Header
from openbook.interop.gguf.tokenizer import read_tokenizer
from openbook.interop.gguf.weights import GgufWeights, Place, open_gguf, renamed
from openbook.interop.huggingface.fields import Fields
from openbook.interop.huggingface.importing import (
    FILE_DTYPES,
    Imported,
    check_vocabulary,
    checked_dtype,
    family_of,
    parts,
    read_architecture,
    stored_size,
)
from openbook.interop.huggingface.resolve import resolve
from openbook.model_file.file import error_context, save_parts
from openbook.model_file.meta_model import expected_shapes
from openbook.model_file.metadata import ModelMetadata
from openbook.progress import Track, silent
from openbook.text.printable import excerpt

FREQUENCIES = "rope_freqs.weight"


def import_gguf(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    track: Track = silent,
) -> Imported:
    """Make a model file of a GGUF file. Memory holds one tensor at a time.

    Args:
        path: the file.
        output: the model file.
        dtype: float32, float16, bfloat16 or int8; None keeps the file's own, or takes float32 where it is quantised.
        track: shows progress, in bytes.

    Raises:
        OpenbookError: naming the file, the field or tensor, and the cure.
    """
    path = Path(path)
    with error_context(path):
        header = open_gguf(path)
        weights, config = _as_folder(path, header)
        fields = Fields({name: value for name, value in config.items() if value is not None}, "its fields")
        family = family_of(fields)
        architecture = read_architecture(family, fields)
        found = resolve(family, architecture, weights)
        chosen = FILE_DTYPES[checked_dtype(dtype, FILE_DTYPES)] if dtype is not None else _dtype(header)
        text = read_tokenizer(header.fields)
        check_vocabulary(text.tokenizer, text.special_tokens, architecture.vocab_size)
        licence = header.fields.get("general.license")
        metadata = ModelMetadata(
            architecture=architecture,
            tokenizer=text.tokenizer,
            special_tokens=text.special_tokens,
            chat_template=text.chat_template,
            license=licence if isinstance(licence, str) else None,
        )
        shapes = expected_shapes(architecture)
        with track("Importing", stored_size(shapes, chosen)) as advance:
            save_parts(output, metadata, chosen, parts(found, weights, chosen, shapes), advance)
    return Imported(family.name, metadata, next(name for name, short in FILE_DTYPES.items() if short == chosen))


def _as_folder(path: Path, header: Header) -> tuple[GgufWeights, dict[str, object]]:
    """The file's tensors under the names of a folder, and its fields as a config.json."""
    name = header.fields.get("general.architecture")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None or not isinstance(name, str):
        raise OpenbookError(
            f"field general.architecture: {excerpt(str(name))} is not known; there are {', '.join(KINDS)}"
        )
    frequencies = header.tensors.get(FREQUENCIES)
    rest = Header(header.fields, {name: each for name, each in header.tensors.items() if name != FREQUENCIES})
    given = Given(header.fields, name, rest.tensors)
    config = kind.config(given)
    given.finish()
    if frequencies is not None:
        alone = GgufWeights(path, header, {FREQUENCIES: Place(FREQUENCIES)})
        config["rope_scaling"] = frequency_bands(alone.read(FREQUENCIES), config["rope_theta"], config["head_dim"])
    places = dict(renamed(rest, kind.names, kind.changes(config)))
    return GgufWeights(path, rest, places), config


def _dtype(header: Header) -> str:
    """The type of the matrices where they agree on one of half the size, else F32."""
    kinds = {tensor.kind for tensor in header.tensors.values() if len(tensor.shape) > 1}
    return kinds.pop() if len(kinds) == 1 and kinds <= {"F16", "BF16"} else "F32"
