"""Books as token ids in shards, encoded once by several processes and found again by later runs."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from openbook.errors import OpenbookError
from openbook.progress import Advance, Track, silent
from openbook.text.corpus.chunking import first_safe_cut, token_safe_chunks
from openbook.text.corpus.corpus import Corpus, DocumentSpan, Split
from openbook.text.corpus.process_pool import run_tasks
from openbook.text.corpus.working_directory import load_or_make, read_json_file, write_json
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.unknown import Unknown, UnknownCounter, total_unknown
from openbook.text.tokenizer.word_encoder import WordEncoder
from openbook.training.data.token_files import TokenFiles, offsets, token_dtype
from openbook.training.data.token_shards import (
    ARRAYS,
    REPORT,
    SHARD_FILE,
    TOKENIZER,
    JoinedArray,
    Shard,
    describe_file,
    files_of,
    open_starts,
    open_tokens,
    read_index,
    unknown_of,
)
from openbook.training.request import INDEX

FORMAT = 1
CHUNK_CHARACTERS = 1 << 15
"""Characters that are encoded as one text."""
PART_CHARACTERS = 2 << 20
"""Characters after which the work is safe from interruption."""
SMALLEST_SHARD, LARGEST_SHARD = 16 << 20, 1 << 30
"""Bytes of text in a shard, about."""
SHARDS = 64
"""How many shards there are in a text that is large, but not so large that they would be larger than the largest."""
SEARCH_BYTES = 1 << 16
"""In which a place to cut is looked for at a time."""

CONTINUATION = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that begin no character."""


@dataclass(frozen=True)
class TokenizedSplit:
    """The tokens of the training or the validation text."""

    ids: NDArray[np.unsignedinteger[Any]] | JoinedArray
    """[tokens], memory-mapped. An end-of-text token closes each document."""
    documents: NDArray[np.int64]
    """[documents + 1]: the token at which each document starts, and the number of all tokens."""
    chapters: NDArray[np.int64]
    """[chapters]: the token at which each chapter starts; every document starts one."""
    text_bytes: int
    """UTF-8 bytes of the text, for bits per byte. (End-of-text tokens stand for none.)"""
    unknown: Unknown
    """How many of the tokens stand for a character or word that is not in the vocabulary, and for how many bytes."""

    @classmethod
    def open(cls, folder: Path, shards: tuple[Shard, ...], dtype: str) -> "TokenizedSplit":
        """The tokens in some shards."""
        size = np.dtype(dtype).itemsize
        ids = open_tokens(folder, shards, dtype)
        return cls(
            ids,
            np.append(open_starts(folder, shards, "documents", size), len(ids)),
            open_starts(folder, shards, "chapters", size),
            sum(shard.text_bytes for shard in shards),
            unknown_of(shards),
        )


@dataclass(frozen=True)
class TokenizedBooks:
    """The tokens of a corpus; `fingerprint` identifies text and tokenizer."""

    fingerprint: str
    train: TokenizedSplit
    validation: TokenizedSplit

    @classmethod
    def load(cls, folder: Path) -> "TokenizedBooks":
        """Open a folder of shards. Raises ValueError where none is complete."""
        try:
            index = read_index(folder)
        except OpenbookError as error:
            raise ValueError(str(error)) from None
        train, validation = (
            TokenizedSplit.open(folder, shards, index.dtype) for shards in (index.train, index.validation)
        )
        return cls(index.identity, train, validation)


def tokenize_books(
    corpus: Corpus,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    kind: str | None = None,
    made_from: str = "",
    processes: int | None = None,
    track: Track = silent,
) -> TokenizedBooks:
    """Encode a corpus into shards in `folder`, or find it there; an interrupted run continues where it stopped.

    Args:
        corpus: the text.
        tokenizer: encodes it.
        folder: gets the shards, their index, the tokenizer and the report of the corpus.
        kind: the type of the tokenizer, for the index.
        made_from: names files and settings, likewise.
        processes: how many to use; None: one per core if there is enough text.
        track: shows progress.
    """
    identity = f"{corpus.fingerprint} {tokenizer.fingerprint}"

    def make(work: Path) -> None:
        if not (work / INDEX).exists():
            dtype = token_dtype(tokenizer)
            shards = {
                name: _plan_shards(split, name, tokenizer, identity, work)
                for name, split in (("train", corpus.train), ("validation", corpus.validation))
            }
            with track("Tokenizing", corpus.bytes) as advance:
                run_tasks(encode_shard, [*shards["train"], *shards["validation"]], processes, advance)
            (work / TOKENIZER).write_text(tokenizer.to_json(), encoding="utf-8")
            write_json(work / REPORT, dataclasses.asdict(corpus.report))
            content = {
                "format": FORMAT,
                "identity": identity,
                "made_from": made_from,
                "dtype": dtype.name,
                "vocab_size": tokenizer.vocab_size,
                "tokenizer": describe_file(work / TOKENIZER),
                "special_tokens": tokenizer.special.to_dict(),
                "kind": kind,
                **{name: [read_json_file(task.result) for task in tasks] for name, tasks in shards.items()},
            }
            write_json(work / INDEX, content)
        _publish(work, folder)

    folder.mkdir(parents=True, exist_ok=True)
    return load_or_make(folder, identity, TokenizedBooks.load, make)


def _publish(work: Path, folder: Path) -> None:
    """Move what is complete to where it is found, the index last. Interrupted, it goes on."""
    names = files_of(read_json_file(work / INDEX))
    (folder / INDEX).unlink(missing_ok=True)
    for old in folder.iterdir():
        if SHARD_FILE.fullmatch(old.name) and old.name not in names:
            old.unlink()
    for name in sorted(names):
        if (work / name).exists():
            (work / name).replace(folder / name)
    (work / INDEX).replace(folder / INDEX)


@dataclass(frozen=True)
class ShardTask:
    """A part of a split to encode.

    Attributes:
        split: the text.
        documents: those that the part has something of.
        start: the first byte.
        end: the one behind the last.
        tokenizer: encodes it.
        identity: names what is made.
        stem: of the files.
    """

    split: Path
    documents: tuple[DocumentSpan, ...]
    start: int
    end: int
    tokenizer: Tokenizer
    identity: str
    stem: Path

    @property
    def size(self) -> int:
        """Bytes of text."""
        return self.end - self.start

    @property
    def result(self) -> Path:
        """What the index says about the shard."""
        return self.stem.with_suffix(".shard")


def _plan_shards(split: Split, name: str, tokenizer: Tokenizer, identity: str, work: Path) -> list[ShardTask]:
    """Tasks for a split. Where a shard ends depends on the text alone, not on the number of processes."""
    size = min(max(split.bytes // SHARDS, SMALLEST_SHARD), LARGEST_SHARD)
    cuts = [0]
    for wanted in range(size, split.bytes - size // 2, size):
        cut = _find_cut(split, wanted)
        if cuts[-1] < cut < split.bytes:
            cuts.append(cut)
    tasks = []
    for number, (start, end) in enumerate(pairwise([*cuts, split.bytes])):
        inside = tuple(_within(each, start, end) for each in split.documents if each.start < end and each.end > start)
        if inside:
            stem = work / f"{name}-{number:05}"
            tasks.append(ShardTask(split.path, inside, start, end, tokenizer, identity, stem))
    return tasks


def _within(document: DocumentSpan, start: int, end: int) -> DocumentSpan:
    """A document with the chapters alone that have something between two bytes."""
    ends = [*(chapter.start for chapter in document.chapters[1:]), document.end]
    chapters = [each for each, last in zip(document.chapters, ends, strict=True) if each.start < end and last > start]
    return dataclasses.replace(document, chapters=tuple(chapters))


def _find_cut(split: Split, wanted: int) -> int:
    """The first byte from `wanted` on at which the text can be cut without a change of its tokens."""
    document = next(each for each in split.documents if each.end > wanted)
    end = next((chapter.start for chapter in document.chapters if chapter.start >= wanted), document.end)
    with split.path.open("rb") as file:
        file.seek(wanted)
        while wanted < end:
            block = file.read(min(SEARCH_BYTES, end - wanted))
            text = block.decode("utf-8", "ignore")  # it may begin or end within a character
            cut = first_safe_cut(text)
            if cut is not None:
                return wanted + len(block) - len(block.lstrip(CONTINUATION)) + len(text[:cut].encode())
            wanted += len(block)
    return end


def encode_shard(task: ShardTask, advance: Advance) -> None:
    """Write the tokens of a shard and what the index says about it."""
    dtypes: dict[str, DTypeLike] = {"tokens": token_dtype(task.tokenizer), "documents": "<i8", "chapters": "<i8"}
    files = TokenFiles(task.stem, task.identity, dtypes, ("bytes", "unknown", "unknown_bytes"))
    encoder, counter = WordEncoder(task.tokenizer), UnknownCounter(task.tokenizer, named=False)
    advance(files.counts["bytes"])
    for part in _parts(task, task.start + files.counts["bytes"]):
        ids = encoder.encode_batch([chunk.text for chunk in part])
        unknown = total_unknown(counter.count(chunk.text, each) for chunk, each in zip(part, ids, strict=True))
        ids = [
            np.append(each, np.uint32(task.tokenizer.end_id)) if chunk.ends_document else each
            for chunk, each in zip(part, ids, strict=True)
        ]
        starts = files.sizes["tokens"] + offsets(np.array([len(each) for each in ids]))[:-1]
        arrays: dict[str, NDArray[Any]] = {
            "tokens": np.concatenate(ids),
            "documents": starts[[chunk.starts_document for chunk in part]],
            "chapters": starts[[chunk.starts_chapter for chunk in part]],
        }
        done = part[-1].end - task.start - files.counts["bytes"]
        files.extend(arrays, {"bytes": done, "unknown": unknown.tokens, "unknown_bytes": unknown.bytes})
        advance(done)
    counts = files.counts
    record = {"text_bytes": counts["bytes"], "unknown": counts["unknown"], "unknown_bytes": counts["unknown_bytes"]}
    described = {array: describe_file(task.stem.with_suffix(f".{array}")) for array in ARRAYS}
    write_json(task.result, {"name": task.stem.name, **described, **record})


@dataclass(frozen=True)
class _Chunk:
    text: str
    end: int
    """The byte of the split at which it ends."""
    starts_document: bool
    starts_chapter: bool
    ends_document: bool


def _parts(task: ShardTask, start: int) -> Iterator[list[_Chunk]]:
    """The chunks from a byte of the split on, in lists of about `PART_CHARACTERS` characters."""
    part: list[_Chunk] = []
    size = 0
    for chunk in _chunks(task, start):
        part.append(chunk)
        size += len(chunk.text)
        if size >= PART_CHARACTERS:
            yield part
            part, size = [], 0
    if part:
        yield part


def _chunks(task: ShardTask, start: int) -> Iterator[_Chunk]:
    """The text of a task from a byte on where an earlier chunk ended. Every chapter starts a chunk."""
    split = Split(task.split, task.end, task.documents)
    for document in task.documents:
        starts = [chapter.start for chapter in document.chapters]
        for first, following in zip(starts, [*starts[1:], document.end], strict=True):
            place, last = max(first, start), min(following, task.end)
            if last <= place:
                continue
            for text in token_safe_chunks(split.chunks(place, last), CHUNK_CHARACTERS):
                end = place + len(text.encode())
                yield _Chunk(text, end, place == document.start, place == first, end == document.end)
                place = end
