"""Open a Hugging Face folder for import. Nothing in it is run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.interop.huggingface.extra_metadata import read_extra_metadata
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.generation_config import read_generation_config
from openbook.interop.huggingface.resolve import Mappings
from openbook.interop.huggingface.weights import INDEX, SINGLE, SafetensorsWeights, open_weights, read_small_json
from openbook.interop.tokenizers import ImportedTokenizer, LegacyLayout, read_tokenizer
from openbook.model_file.dtypes import EXPORT_DTYPES
from openbook.model_file.file_type import path_problem
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.torch_dtypes import DTYPES

MAX_CONFIG_BYTES = 4_000_000


@dataclass(frozen=True)
class FolderCheckpoint:
    """A folder with config.json, safetensors and tokenizer files."""

    path: Path
    config: ConfigFields
    read_tokenizer: Callable[[LegacyLayout], ImportedTokenizer]

    @cached_property
    def weights(self) -> SafetensorsWeights:
        """The tensors, their headers checked."""
        return open_weights(self.path)

    def dtype(self, found: Mappings) -> str:
        """The dtype of all tensors where they agree, else the one in config.json, else F32."""
        mappings = [mapping for each in found.values() for mapping in each if mapping.theirs]
        dtypes = {"BF16" if each.mxfp4 else self.weights.dtype(each.theirs).replace("F64", "F32") for each in mappings}
        for dtype in sorted(dtypes - DTYPES.keys()):
            raise OpenbookError(f"some tensors are {dtype}, none of {', '.join(DTYPES)}; convert the model first")
        if len(dtypes) == 1:
            return dtypes.pop()
        named = self.config.optional_string("dtype") or self.config.optional_string("torch_dtype")
        return EXPORT_DTYPES.get(named or "", "F32")

    def notes(self) -> list[str]:
        """What a person should know about the files that were read."""
        if (self.path / SINGLE).is_file() and (self.path / INDEX).is_file():
            return [f"there are {SINGLE} and {INDEX}: the weights are those of {SINGLE}, as in transformers"]
        return []

    def add_metadata(self, metadata: ModelMetadata) -> ModelMetadata:
        """The metadata with generation defaults, and what an export from here left in `openbook.json`."""
        return read_extra_metadata(self.path, replace(metadata, generation=read_generation_config(self.path)))


def open_folder(path: Path) -> FolderCheckpoint:
    """Read a folder's config.json.

    Args:
        path: a folder as `save_pretrained` of transformers writes it, or as it is downloaded.

    Raises:
        OpenbookError: it is no such folder; names the file and the cure.
    """
    if not path.is_dir():
        raise OpenbookError(path_problem(path) or "is no folder")
    if (path / "adapter_config.json").is_file():
        raise OpenbookError("is a LoRA adapter of PEFT; give the model file that it changes with --base")
    if not (path / "config.json").exists():
        if any(path.glob("*.gguf")):
            raise OpenbookError("has GGUF files and no config.json; give one of the GGUF files")
        raise OpenbookError("has no config.json; give the folder of one model, as transformers saves it")
    config = ConfigFields(read_small_json(path / "config.json", MAX_CONFIG_BYTES))
    return FolderCheckpoint(path, config, partial(read_tokenizer, path))
