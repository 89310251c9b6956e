"""What preparation keeps in a run's folder and later runs find there: corpus and tokenizers. Needs no PyTorch."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from openbook.model_file.atomic import atomic_write
from openbook.progress import Track
from openbook.text.corpus.corpus import Corpus
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import TRAINING_SAMPLE_BYTES, TokenizerType, train_tokenizer
from openbook.training.request import TrainingRequest

AnyCorpus = TypeVar("AnyCorpus")


def prepare_corpus(prepare: Callable[..., AnyCorpus], request: TrainingRequest, track: Track) -> AnyCorpus:
    """Read, clean and split the files of a request, or find that done."""
    return prepare(
        request.inputs,
        request.folder / "text",
        validation=request.validation,
        validation_fraction=request.fraction_held_out,
        keep_duplicates=request.keep_duplicates or request.tiny,
        encoding=request.encoding,
        track=track,
    )


def prepare_tokenizer(folder: Path, name: str, made_from: list[object], train: Callable[[], Tokenizer]) -> Tokenizer:
    """The tokenizer in the file NAME.json, trained if there is none.

    Args:
        folder: of the run.
        name: of the file.
        made_from: identifies text and settings; a tokenizer of others is trained anew.
        train: makes it.
    """
    path, mark = folder / f"{name}.json", folder / f"{name}.made-from"
    identity = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
    if path.exists() and mark.exists() and mark.read_text("utf-8") == identity:
        return Tokenizer.from_json(path.read_text("utf-8"))
    mark.unlink(missing_ok=True)
    tokenizer = train()
    for file_path, content in ((path, tokenizer.to_json()), (mark, identity)):
        with atomic_write(file_path) as file:
            file.write(content.encode())
    return tokenizer


def prepare_book_tokenizer(
    corpus: Corpus, kind: TokenizerType, vocab_size: int, folder: Path, track: Track
) -> Tokenizer:
    """The tokenizer of books."""
    return prepare_tokenizer(
        folder,
        "tokenizer",
        [corpus.fingerprint, kind, vocab_size],
        lambda: train_tokenizer(corpus.train.sample(TRAINING_SAMPLE_BYTES), kind, vocab_size, track=track),
    )
