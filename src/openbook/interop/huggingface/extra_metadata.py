"""What a model file says that no file of Hugging Face has a place for, in a file of our own beside them.

transformers does not look at it; an import finds there how the weights came about, so that nothing is lost on the way.
"""

import json
from dataclasses import replace
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.interop.huggingface.weights import read_small_json
from openbook.interop.tokenizers.bounded_files import read_text
from openbook.model_file.metadata import OPTIONAL, ModelMetadata

REMAINDER = "openbook.json"
SOURCE_TOKENIZER = "source_tokenizer.json"
LONGEST = 8_000_000
FIELDS = ("special_tokens", "chat_template", "generation", "training", "license")


def write_remainder(folder: Path, metadata: ModelMetadata) -> None:
    """Write those of the fields that the model file has."""
    header = metadata.to_header()
    values = {name: json.loads(header[name]) for name in FIELDS if name in header}
    text = json.dumps(values, indent=2, ensure_ascii=False)
    (folder / REMAINDER).write_text(text + "\n", encoding="utf-8")
    if metadata.source_tokenizer is not None:
        (folder / SOURCE_TOKENIZER).write_text(metadata.source_tokenizer, encoding="utf-8")


def read_remainder(folder: Path, metadata: ModelMetadata) -> ModelMetadata:
    """The metadata with the fields from our own file, where there is one.

    Raises:
        OpenbookError: a field is not of its kind.
    """
    source = folder / SOURCE_TOKENIZER
    if source.is_file() and metadata.source_tokenizer is None:
        metadata = replace(metadata, source_tokenizer=read_text(source))
    path = folder / REMAINDER
    if not path.is_file():
        return metadata
    values = read_small_json(path, LONGEST)
    unknown = next((name for name in values if name not in FIELDS), None)
    if unknown is not None:
        raise OpenbookError(f"{path.name}, field {unknown}: is not known; upgrade openbook, or take the file away")
    kept = {name: text for name, text in metadata.to_header().items() if name not in OPTIONAL or name not in FIELDS}
    try:
        return ModelMetadata.from_header(kept | {name: json.dumps(value) for name, value in values.items()})
    except OpenbookError as error:
        raise OpenbookError(f"{path.name}: {error}") from None
