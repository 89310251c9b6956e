"""Folders of prepared tokens: made once, by several processes, and trained on by any number of runs."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openbook.errors import OpenbookError, SettingError
from openbook.model_file.atomic import atomic_write
from openbook.model_file.metadata import ModelMetadata
from openbook.progress import Track, silent
from openbook.text.corpus.prepare import fingerprint_books, prepare
from openbook.text.corpus.report import Report
from openbook.text.input_files import find_files
from openbook.text.plain_files import open_member
from openbook.text.printable import printable_path
from openbook.text.strict_json import DAMAGED
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import TokenizerType, choose_vocab_size
from openbook.training.data.book_tokens import TokenizedBooks, tokenize_books
from openbook.training.data.prepared import prepare_book_tokenizer
from openbook.training.data.token_shards import (
    REPORT,
    START_BYTES,
    TOKENIZER,
    Shard,
    ShardFile,
    ShardIndex,
    read_index,
)
from openbook.training.folder_lock import NAME as LOCK
from openbook.training.folder_lock import lock_folder
from openbook.training.request import INDEX

BLOCK = 8 << 20
WORK = "work"
"""The folder, within that of the tokens, with the clean text; it goes when all is done."""
CHECKED = "checked-tokens"
"""The file in which a run notes that the tokens are as the index says."""


@dataclass(frozen=True)
class PreparedTokens:
    """A folder of tokens, opened.

    Attributes:
        folder: where it is.
        index: what it has.
        tokenizer: encoded the text.
        books: the tokens.
    """

    folder: Path
    index: ShardIndex
    tokenizer: Tokenizer
    books: TokenizedBooks

    def report(self) -> Report:
        """What was read, removed, guessed and left out.

        Raises:
            OpenbookError: it is damaged.
        """
        try:
            return Report.load(self.folder / REPORT)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise OpenbookError(f"{printable_path(self.folder / REPORT)}: {error}; {DAMAGED}") from None

    def record(self) -> list[dict[str, Any]]:
        """The folder for a model's training record; the hash of its index stands for those of all files."""
        digest = hashlib.sha256((self.folder / INDEX).read_bytes()).hexdigest()
        name = printable_path(Path(self.folder.resolve().name))
        return [{"name": name, "bytes": self.books.train.text_bytes, "sha256": digest}]


def prepare_tokens(
    inputs: Sequence[str | Path],
    folder: Path,
    *,
    tokenizer: TokenizerType = "bpe",
    vocab_size: int | None = None,
    base: ModelMetadata | None = None,
    processes: int | None = None,
    track: Track = silent,
    **corpus_options: Any,
) -> PreparedTokens:
    """Read, clean, deduplicate and encode books into shards in `folder`, or find that done. Interrupted, it goes on.

    Args:
        inputs: files, folders and globs.
        folder: new, empty, or one of an earlier call.
        tokenizer: the type to train.
        vocab_size: of the tokenizer; None: what suits the amount of text.
        base: metadata of a model whose tokenizer is taken instead.
        processes: how many to use; None: one per core if there is enough text.
        track: shows progress.
        corpus_options: see `openbook.text.corpus.prepare.prepare`.

    Raises:
        OpenbookError: there is no text, an option is out of range, or the folder cannot be written or has other files.
    """
    if processes is not None and processes < 1:
        raise SettingError(f"`processes` {processes}: must be at least 1")
    taken = None if base is None else base.make_tokenizer()
    settings = [tokenizer, vocab_size] if taken is None else [taken.fingerprint]
    made_from = hashlib.sha256(json.dumps([fingerprint_books(inputs, **corpus_options), settings]).encode()).hexdigest()
    _check_folder(folder, inputs)
    with lock_folder(folder, folder):
        if not _is_made(folder, made_from):
            work = folder / WORK
            work.mkdir(exist_ok=True)
            corpus = prepare(inputs, work / "text", processes=processes, track=track, **corpus_options)
            if taken is None:
                size = vocab_size or choose_vocab_size(corpus.train.bytes, tokenizer)
                encoder, kind = prepare_book_tokenizer(corpus, tokenizer, size, work, track), tokenizer
            else:
                encoder, kind = taken, None
            tokenize_books(corpus, encoder, folder, kind=kind, made_from=made_from, processes=processes, track=track)
        shutil.rmtree(folder / WORK, ignore_errors=True)
        return open_prepared(folder)


def _is_made(folder: Path, made_from: str) -> bool:
    try:
        return read_index(folder).made_from == made_from
    except OpenbookError:
        return False


def _check_folder(folder: Path, inputs: Sequence[str | Path]) -> None:
    """Make the folder, and refuse one that has other files, or that holds an input."""
    shown = printable_path(folder)
    target = Path(os.path.realpath(folder))
    for path in find_files(inputs):
        if Path(os.path.realpath(path)).is_relative_to(target):
            raise SettingError(f"{shown}: holds the input {printable_path(path)}; give another `output`")
    try:
        folder.mkdir(exist_ok=True)
        names = {each.name for each in folder.iterdir()}
    except OSError as error:
        raise SettingError(f"{shown}: cannot be made ({error.strerror}); give another `output`") from None
    if names - {LOCK} and not names & {INDEX, WORK}:
        raise SettingError(f"{shown}: has files that are no tokens; give `output` a new folder")


def open_prepared(folder: Path, run_folder: Path | None = None, track: Track = silent) -> PreparedTokens:
    """Open a folder that `prepare_tokens` made.

    Args:
        folder: of the tokens.
        run_folder: of the run that is to learn from them; every number is checked, and that is noted there.
        track: shows progress.

    Raises:
        OpenbookError: a file is missing or damaged; names it.
    """
    index = read_index(folder)
    with open_member(folder / TOKENIZER) as file:
        content = file.read(index.tokenizer.bytes)
    if hashlib.sha256(content).hexdigest() != index.tokenizer.sha256:
        raise _damaged(folder / TOKENIZER)
    special = SpecialTokens.from_dict(index.special_tokens)
    tokenizer = Tokenizer.from_json(content.decode("utf-8", "replace"), special)
    if tokenizer.vocab_size != index.vocab_size or special.largest_id >= index.vocab_size:
        raise OpenbookError(f"{printable_path(folder / TOKENIZER)}: does not fit {INDEX}; {DAMAGED}")
    if not any(shard.tokens.bytes for shard in index.train):
        raise OpenbookError(f"{printable_path(folder)}: has no tokens to learn from; prepare it again")
    if run_folder is not None:
        _check_once(folder, index, run_folder, track)
    return PreparedTokens(folder, index, tokenizer, TokenizedBooks.load(folder))


def _check_once(folder: Path, index: ShardIndex, run_folder: Path, track: Track) -> None:
    """Check all shards, unless this run has checked them as they are."""
    states = [[name, *_state(folder / name), facts.sha256] for name, facts in index.files().items()]
    seen, noted = hashlib.sha256(json.dumps(states).encode()).hexdigest(), run_folder / CHECKED
    if noted.exists() and noted.read_text("utf-8", "replace") == seen:
        return
    total = sum(facts.bytes for shard in index.shards for facts in shard.files().values())
    with track("Checking the tokens", total) as advance, ThreadPoolExecutor() as pool:
        for size in pool.map(lambda shard: _check_shard(folder, index, shard), index.shards):
            advance(size)
    with atomic_write(noted) as file:
        file.write(seen.encode())


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _check_shard(folder: Path, index: ShardIndex, shard: Shard) -> int:
    """Check every number of a shard; gives its bytes."""
    tokens = shard.tokens.bytes // np.dtype(index.dtype).itemsize
    limits: Mapping[str, tuple[str, int]] = {"tokens": (index.dtype, index.vocab_size)}
    for array in ("documents", "chapters"):
        limits = {**limits, array: (f"<i{START_BYTES}", tokens)}
    for array, (dtype, limit) in limits.items():
        path, facts = folder / f"{shard.name}.{array}", getattr(shard, array)
        digest = hashlib.sha256()
        last = -1
        for block in _blocks(path, facts):
            digest.update(block)
            numbers = np.frombuffer(block, dtype)
            ordered = array == "tokens" or (numbers[0] > last and bool((numbers[1:] > numbers[:-1]).all()))
            last = int(numbers[-1])
            if not ordered or numbers.min() < 0 or numbers.max() >= limit:
                what = (
                    f"a token that is not in the vocabulary of {limit:,}" if array == "tokens" else "places in disorder"
                )
                raise OpenbookError(f"{printable_path(path)}: has {what}; {DAMAGED}")
        if digest.hexdigest() != facts.sha256:
            raise _damaged(path)
    return sum(facts.bytes for facts in shard.files().values())


def _blocks(path: Path, facts: ShardFile) -> Iterator[bytes]:
    with open_member(path) as file:
        left = facts.bytes
        while left:
            block = file.read(min(BLOCK, left))
            if len(block) < min(BLOCK, left):
                raise _damaged(path)
            left -= len(block)
            yield block


def _damaged(path: Path) -> OpenbookError:
    return OpenbookError(f"{printable_path(path)}: is not what the index says (another checksum); {DAMAGED}")
