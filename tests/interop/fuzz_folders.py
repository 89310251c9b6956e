"""Coverage-guided fuzzing of what an import reads: python fuzz_folders.py [libFuzzer's options]; needs atheris.

The first byte says what the rest is: a config.json, an index of shards, the header of a safetensors file, or
generation defaults. Whatever comes, it is read, or refused with an OpenbookError; anything else ends the run.
"""

import tempfile
from pathlib import Path

import atheris
from fuzzing import fuzz

with atheris.instrument_imports(include=["openbook.model_file", "openbook.text.strict_json"]):
    from openbook.interop.huggingface.families.registry import family_of, read_architecture
    from openbook.interop.huggingface.fields import ConfigFields
    from openbook.interop.huggingface.generation_config import read_generation_config
    from openbook.interop.huggingface.weights import INDEX, SINGLE, open_weights, read_small_json

FOLDER = Path(tempfile.mkdtemp(prefix="openbook-fuzz-"))


def config(content: bytes) -> None:
    (FOLDER / "config.json").write_bytes(content)
    fields = ConfigFields(read_small_json(FOLDER / "config.json", 4_000_000))
    read_architecture(family_of(fields), fields)


def index(content: bytes) -> None:
    (FOLDER / INDEX).write_bytes(content)
    try:
        open_weights(FOLDER)
    finally:
        (FOLDER / INDEX).unlink()


def header(content: bytes) -> None:
    (FOLDER / SINGLE).write_bytes(len(content).to_bytes(8, "little") + content)
    weights = open_weights(FOLDER)
    for name in weights.places:
        weights.read(name)


def generation(content: bytes) -> None:
    (FOLDER / "generation_config.json").write_bytes(content)
    read_generation_config(FOLDER)


KINDS = (config, index, header, generation)


if __name__ == "__main__":
    fuzz(KINDS)
