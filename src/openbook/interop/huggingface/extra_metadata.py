"""`openbook.json` in an exported folder: the metadata that Hugging Face has no file for, such as the training record.

transformers ignores it. An import here reads it, so that nothing is lost on the way out and back.
"""

import json
from dataclasses import replace
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.interop.huggingface.weights import read_small_json
from openbook.interop.tokenizers.tokenizer_folder_import import read_tokenizer_json
from openbook.model_file.metadata import OPTIONAL, ModelMetadata

FILE_NAME = "openbook.json"
SOURCE_TOKENIZER = "source_tokenizer.json"
MAX_BYTES = 8_000_000
FIELDS = ("special_tokens", "chat_template", "generation", "training", "license")


def write_extra_metadata(folder: Path, metadata: ModelMetadata) -> None:
    """Write those of `FIELDS` that the model file has."""
    header = metadata.to_header()
    values = {name: json.loads(header[name]) for name in FIELDS if name in header}
    text = json.dumps(values, indent=2, ensure_ascii=False)
    (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")
    if metadata.source_tokenizer is not None:
        (folder / SOURCE_TOKENIZER).write_text(metadata.source_tokenizer, encoding="utf-8")


def read_extra_metadata(folder: Path, metadata: ModelMetadata) -> ModelMetadata:
    """The metadata with the fields of `openbook.json`, where there is one.

    Raises:
        OpenbookError: a field is unknown or malformed.
    """
    source = folder / SOURCE_TOKENIZER
    if source.exists() and metadata.source_tokenizer is None:
        metadata = replace(metadata, source_tokenizer=read_tokenizer_json(source)[0])
    path = folder / FILE_NAME
    if not path.exists():
        return metadata
    values = read_small_json(path, MAX_BYTES)
    unknown = next((name for name in values if name not in FIELDS), None)
    if unknown is not None:
        raise OpenbookError(f"{path.name}, field {unknown}: is not known; upgrade openbook, or remove the file")
    kept = {name: text for name, text in metadata.to_header().items() if name not in OPTIONAL or name not in FIELDS}
    try:
        return ModelMetadata.from_header(kept | {name: json.dumps(value) for name, value in values.items()})
    except OpenbookError as error:
        raise OpenbookError(f"{path.name}: {error}") from None
