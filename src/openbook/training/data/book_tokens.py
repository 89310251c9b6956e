"""A corpus as token ids in memory-mapped files, with the places where documents and chapters begin."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbook.progress import Track, silent
from openbook.text.corpus.chunking import token_safe
from openbook.text.corpus.corpus import Corpus, Split
from openbook.text.corpus.read_batch import save_json
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.word_encoder import WordEncoder

CHUNK = 1 << 15
"""Characters that are encoded in one go, by one core."""
PART = 2 << 20
"""Characters whose chunks go to all cores together; after each part, work is safe from interruption."""

Offsets = NDArray[np.int64]


@dataclass(frozen=True)
class TokenSplit:
    """The tokens of the training or the validation text."""

    ids: NDArray[np.unsignedinteger[Any]]
    """[tokens], memory-mapped: uint16 where the vocabulary fits, else uint32. The end token closes documents."""
    documents: Offsets
    """[documents + 1]: the token at which each document starts, and the number of all tokens."""
    chapters: Offsets
    """[chapters]: the token at which each chapter starts; every document starts one."""
    text_bytes: int
    """UTF-8 bytes of the text, for bits a byte. (The end tokens stand for none.)"""
    unknown: int
    """How many of the tokens stand for a character or word that is not in the vocabulary."""


@dataclass(frozen=True)
class Tokens:
    """What `tokenize` made."""

    folder: Path
    train: TokenSplit
    validation: TokenSplit


def tokenize(corpus: Corpus, tokenizer: Tokenizer, folder: Path, *, track: Track = silent) -> Tokens:
    """Encode a corpus into `folder`, on all cores, or find it there already; goes on where it was interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    identity = f"{corpus.fingerprint} {tokenizer.fingerprint}"
    splits = []
    with track("Tokenising", corpus.bytes) as advance:
        for name, split in (("train", corpus.train), ("validation", corpus.validation)):
            writer = _Writer(folder / f"{name}.tokens", identity, split, tokenizer)
            advance(writer.progress.bytes)
            for done in writer.work():
                advance(done)
            splits.append(writer.result())
    return Tokens(folder, *splits)


@dataclass
class _Progress:
    """How far the encoding of a split has come; kept beside the tokens as JSON."""

    identity: str
    bytes: int = 0
    tokens: int = 0
    unknown: int = 0
    documents: list[int] = field(default_factory=list)
    chapters: list[int] = field(default_factory=list)


class _Writer:
    """Encodes one split. After each part it saves its progress; what a killed run wrote after that is written again."""

    def __init__(self, path: Path, identity: str, split: Split, tokenizer: Tokenizer) -> None:
        self._path = path
        self._state = path.with_suffix(".json")
        self._split = split
        self._tokenizer = tokenizer
        self._encoder = WordEncoder(tokenizer)
        self._dtype = np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")
        self.progress = self._load(identity)

    def _load(self, identity: str) -> _Progress:
        try:
            progress = _Progress(**json.loads(self._state.read_text(encoding="utf-8")))
            enough = self._path.stat().st_size >= progress.tokens * self._dtype.itemsize
            if progress.identity == identity and enough:
                return progress
        except (OSError, TypeError, ValueError):
            pass  # nothing there, or not in a state to go on from
        return _Progress(identity)

    def work(self) -> Iterator[int]:
        """Encode what is left; yields the number of bytes of each part."""
        progress = self.progress
        mode = "r+b" if progress.bytes else "wb"
        with self._path.open(mode) as file:
            file.truncate(progress.tokens * self._dtype.itemsize)
            file.seek(0, os.SEEK_END)
            for part in self._parts(progress.bytes):
                before = progress.bytes
                ids = self._encode(part)
                if ids:
                    file.write(np.array(list(chain.from_iterable(ids)), self._dtype).tobytes())
                file.flush()
                os.fsync(file.fileno())
                save_json(self._state, asdict(progress))
                yield progress.bytes - before

    def _parts(self, start: int) -> Iterator[list["_Chunk"]]:
        part: list[_Chunk] = []
        size = 0
        for chunk in _chunks(self._split, start):
            part.append(chunk)
            size += len(chunk.text)
            if size >= PART:
                yield part
                part, size = [], 0
        if part or not start:
            yield part

    def _encode(self, part: list["_Chunk"]) -> list[list[int]]:
        """The ids of a part, and the progress that comes with them."""
        progress, tokenizer = self.progress, self._tokenizer
        all_ids = self._encoder.encode_batch([chunk.text for chunk in part])
        for chunk, ids in zip(part, all_ids, strict=True):
            if chunk.starts_document:
                progress.documents.append(progress.tokens)
            if chunk.starts_chapter:
                progress.chapters.append(progress.tokens)
            if tokenizer.unknown_id is not None:
                progress.unknown += ids.count(tokenizer.unknown_id)
            if chunk.ends_document:
                ids.append(tokenizer.end_id)
            progress.tokens += len(ids)
            progress.bytes = chunk.end
        return all_ids

    def result(self) -> TokenSplit:
        progress = self.progress
        # An empty file cannot be mapped.
        ids = np.memmap(self._path, self._dtype, "r") if progress.tokens else np.empty(0, self._dtype)
        documents = np.array([*progress.documents, progress.tokens], np.int64)
        return TokenSplit(ids, documents, np.array(progress.chapters, np.int64), progress.bytes, progress.unknown)


@dataclass(frozen=True)
class _Chunk:
    text: str
    end: int
    """The byte place in the split after it."""
    starts_document: bool
    starts_chapter: bool
    ends_document: bool


def _chunks(split: Split, start: int) -> Iterator[_Chunk]:
    """The text of a split from a byte place on where an earlier chunk ended. Chapters start at tokens of their own."""
    for document in split.documents:
        starts = [chapter.start for chapter in document.chapters]
        for first, last in zip(starts, [*starts[1:], document.end], strict=True):
            if last <= start:
                continue
            place = max(first, start)
            for text in token_safe(split.pieces(place, last), CHUNK):
                end = place + len(text.encode())
                yield _Chunk(text, end, place == document.start, place == first, end == document.end)
                place = end
