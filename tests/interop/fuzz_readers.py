"""Coverage-guided fuzzing of GGUF files and tokenizers: python fuzz_readers.py [libFuzzer's options]; needs atheris.

The first byte says what the rest is. Whatever comes, it is read, or refused with an OpenbookError; anything else ends
the run.
"""

import json
import shutil
import tempfile
from pathlib import Path

import atheris
from fuzzing import fuzz

with atheris.instrument_imports(include=["openbook.interop.gguf", "openbook.interop.tokenizers", "openbook.text"]):
    from openbook.interop.gguf.block_types import readable_types
    from openbook.interop.gguf.header import read_header
    from openbook.interop.gguf.tokenizer_import import read_tokenizer as read_gguf_tokenizer
    from openbook.interop.importing import import_model
    from openbook.interop.tokenizers import read_tokenizer

FOLDER = Path(tempfile.mkdtemp(prefix="openbook-fuzz-"))
NAMES = {"eos_token": "</s>", "unk_token": "<unk>", "bos_token": "<s>", "pad_token": "<pad>"}


def gguf(content: bytes) -> None:
    read_gguf_tokenizer(read_header(content, readable_types()).fields)


def whole_gguf(content: bytes) -> None:
    (FOLDER / "it.gguf").write_bytes(content)
    import_model(FOLDER / "it.gguf", FOLDER / "it.openbook", overwrite=True)


def tokenizer(*files: str):
    """Reads a folder that has these files, the content cut at the first zero bytes."""

    def read(content: bytes) -> None:
        folder = FOLDER / "tokenizer"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "tokenizer_config.json").write_text(json.dumps(NAMES))
        for name, part in zip(files, content.split(b"\0\0\0\0", len(files) - 1), strict=False):
            (folder / name).write_bytes(part)
        read_tokenizer(folder)

    return read


READABLE = (
    gguf,
    whole_gguf,
    tokenizer("tokenizer.json"),
    tokenizer("tokenizer.model"),
    tokenizer("tekken.json"),
    tokenizer("it.tiktoken"),
    tokenizer("vocab.json", "merges.txt"),
    tokenizer("tokenizer.json", "tokenizer_config.json"),
)


if __name__ == "__main__":
    readable_types()  # imports the library, which takes longer than any input may
    fuzz(READABLE)
