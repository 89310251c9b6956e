"""Open a GGUF file for import: its fields become a config.json, its tensors get the names of a Hugging Face folder."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openbook.errors import OpenbookError
from openbook.interop.gguf.architectures import ARCHITECTURES
from openbook.interop.gguf.config import head_width_of
from openbook.interop.gguf.fields import GgufFields
from openbook.interop.gguf.header import GgufHeader
from openbook.interop.gguf.parts import GgufFiles, read_files
from openbook.interop.gguf.rotary import rope_scaling_of
from openbook.interop.gguf.tokenizer_import import read_tokenizer
from openbook.interop.gguf.weights import ROPE_FREQS, GgufWeights, TensorLocation, locate_tensors
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.resolve import Mappings
from openbook.interop.tokenizers import ImportedTokenizer, LegacyLayout
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.opening import error_context
from openbook.text.printable import excerpt


@dataclass(frozen=True)
class GgufCheckpoint:
    """A GGUF file, or all its parts, as a Hugging Face folder would be."""

    path: Path
    header: GgufHeader
    config: ConfigFields
    weights: GgufWeights

    def dtype(self, found: Mappings) -> str:
        """The dtype of all matrices where it is F16 or BF16, else F32."""
        types = {tensor.type for tensor in self.header.tensors.values() if len(tensor.shape) > 1}
        return types.pop() if len(types) == 1 and types <= {"F16", "BF16"} else "F32"

    def read_tokenizer(self, layout: LegacyLayout) -> ImportedTokenizer:
        """The tokenizer and chat template in the fields."""
        with error_context(self.path):
            return read_tokenizer(self.header.fields)

    def notes(self) -> list[str]:
        """What a person should know about the files that were read."""
        return []

    def add_metadata(self, metadata: ModelMetadata) -> ModelMetadata:
        """The metadata with the licence."""
        license = self.header.fields.get("general.license")
        return replace(metadata, license=license if isinstance(license, str) else None)


def open_gguf(path: Path) -> GgufCheckpoint:
    """Read and check all of a GGUF file but the numbers of its tensors. Of one in parts, any part will do.

    Raises:
        OpenbookError: names the field or tensor, and the cure.
    """
    files = read_files(path)
    header = files.header
    name = header.fields.get("general.architecture")
    architecture = ARCHITECTURES.get(name) if isinstance(name, str) else None
    if architecture is None or not isinstance(name, str):
        raise OpenbookError(
            f"field general.architecture: {excerpt(str(name))} is not known; "
            f"import a model of one of these: {', '.join(ARCHITECTURES)}, or its Hugging Face folder"
        )
    rest = GgufHeader(header.fields, {name: each for name, each in header.tensors.items() if name != ROPE_FREQS})
    fields = GgufFields(header.fields, name, {name: tensor.shape for name, tensor in rest.tensors.items()})
    config = architecture.read(fields)
    fields.finish()
    if ROPE_FREQS in header.tensors:
        config["rope_scaling"] = _read_rope_freqs(files, config)
    locations = dict(locate_tensors(rest, architecture.names, architecture.imported(config)))
    found = {name: value for name, value in config.items() if value is not None}
    return GgufCheckpoint(path, header, ConfigFields(found, "its fields"), GgufWeights(files.paths, rest, locations))


def _read_rope_freqs(files: GgufFiles, config: Mapping[str, Any]) -> dict[str, Any]:
    weights = GgufWeights(files.paths, files.header, {ROPE_FREQS: TensorLocation(ROPE_FREQS)})
    return rope_scaling_of(weights.read(ROPE_FREQS), config["rope_theta"], head_width_of(config))
