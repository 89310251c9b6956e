"""Token ids in shards: files of a part of the text each, made by several processes, and read as one array.

A folder of shards has an index with the size and the checksum of every file. The index is written last.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from openbook.errors import OpenbookError
from openbook.text.field_errors import field_errors
from openbook.text.plain_files import open_member
from openbook.text.printable import printable_path
from openbook.text.strict_json import DAMAGED, read_json
from openbook.text.tokenizer.unknown import Unknown, total_unknown
from openbook.training.request import INDEX

TOKENIZER, REPORT = "tokenizer.json", "report.json"
ARRAYS = ("tokens", "documents", "chapters")
SHARD_FILE = re.compile(rf"(?:train|validation)-\d{{5,8}}\.(?:{'|'.join(ARRAYS)})")
MOST_CHARACTERS = 64 << 20
"""Of an index."""
MOST_TOKENIZER_BYTES = 256 << 20
START_BYTES = 8
"""Of a place where a document or a chapter begins."""
OPEN_SHARDS = 256
"""Files that are mapped at the same time; systems allow a process a thousand."""

Count = Annotated[int, Field(ge=0, lt=1 << 60, strict=True)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^(train|validation)-[0-9]{5,8}$")]


@checked_dataclass(frozen=True)
class ShardFile:
    """One file of a shard.

    Attributes:
        bytes: its size.
        sha256: its checksum.
    """

    bytes: Count
    sha256: Digest


@checked_dataclass(frozen=True)
class Shard:
    """A part of a split.

    Attributes:
        name: of its files, without what follows the dot.
        tokens: ids of tokens; an end-of-text token closes each document.
        documents: where documents begin, counted in tokens of this shard.
        chapters: where chapters begin, likewise.
        text_bytes: UTF-8 bytes of the text.
        unknown: tokens that stand for what is not in the vocabulary.
        unknown_bytes: bytes that they stand for.
    """

    name: Name
    tokens: ShardFile
    documents: ShardFile
    chapters: ShardFile
    text_bytes: Count
    unknown: Count
    unknown_bytes: Count

    def files(self) -> dict[str, ShardFile]:
        """Its files by name."""
        return {f"{self.name}.{array}": getattr(self, array) for array in ARRAYS}


@checked_dataclass(frozen=True)
class ShardIndex:
    """What a folder of shards has.

    Attributes:
        format: of the folder.
        identity: names what the tokens are made from.
        made_from: names the files and settings that the text and the tokenizer are made from.
        dtype: of the tokens.
        vocab_size: above every token.
        tokenizer: the file tokenizer.json.
        special_tokens: see `SpecialTokens.to_dict`.
        kind: the type of the tokenizer, as in a recipe; None: not known.
        train: shards of the training text, in order.
        validation: of the held-out text.
    """

    format: Literal[1]
    identity: Annotated[str, Field(max_length=1000)]
    made_from: Annotated[str, Field(max_length=1000)]
    dtype: Literal["uint16", "uint32"]
    vocab_size: Annotated[int, Field(ge=1, le=1 << 24, strict=True)]
    tokenizer: ShardFile
    special_tokens: dict[str, Any]
    kind: Literal["bpe", "unigram", "bytes", "characters", "words"] | None
    train: Annotated[tuple[Shard, ...], Field(max_length=1_000_000)]
    validation: Annotated[tuple[Shard, ...], Field(max_length=1_000_000)]

    @property
    def shards(self) -> tuple[Shard, ...]:
        """All of them."""
        return self.train + self.validation

    def files(self) -> dict[str, ShardFile]:
        """All files by name, but the index and the report."""
        files = {TOKENIZER: self.tokenizer}
        for shard in self.shards:
            files |= shard.files()
        return files


def read_index(folder: Path) -> ShardIndex:
    """The index of a folder whose files all have the sizes that it says.

    Raises:
        OpenbookError: naming the file that is missing, damaged or of another size, and the cure.
    """
    path = folder / INDEX
    shown = printable_path(path)
    try:
        with open_member(path) as file:
            text = file.read(MOST_CHARACTERS + 1).decode("utf-8", "replace")
    except OSError as error:
        raise OpenbookError(
            f"{shown}: {error.strerror}; name a folder that openbook prepare has made, to its end"
        ) from None
    content = read_json(shown, text, MOST_CHARACTERS)
    try:
        index = TypeAdapter(ShardIndex).validate_python(content)
    except ValidationError as error:
        first = field_errors(error, ShardIndex)[0]
        raise OpenbookError(f"{shown}: field {first.path or 'index'} {first.problem}; {DAMAGED}") from None
    names = [shard.name for shard in index.shards]
    if len(set(names)) < len(names):
        raise OpenbookError(f"{shown}: names a shard twice; {DAMAGED}")
    for name, facts in index.files().items():
        check_size(folder / name, facts)
        size = np.dtype(index.dtype).itemsize if name.endswith(".tokens") else 1 if name == TOKENIZER else START_BYTES
        if facts.bytes % size:
            raise OpenbookError(f"{shown}: {facts.bytes:,} bytes of {name} are no whole numbers; {DAMAGED}")
    return index


def check_size(path: Path, facts: ShardFile) -> None:
    """Raises OpenbookError where a file is missing or of another size."""
    try:
        with open_member(path) as file:
            size = file.seek(0, 2)
    except OSError as error:
        raise OpenbookError(f"{printable_path(path)}: {error.strerror}; prepare the folder again, or copy it") from None
    if size != facts.bytes:
        raise OpenbookError(
            f"{printable_path(path)}: has {size:,} bytes, and the index says {facts.bytes:,}; {DAMAGED}"
        )


def describe_file(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, as in the index."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


class JoinedArray:
    """Arrays in files one behind the other, as one that is read in part. Files are mapped while they are read.

    Args:
        paths: the files, none of them empty.
        lengths: how many numbers each has.
        dtype: of the numbers.
    """

    def __init__(self, paths: Sequence[Path], lengths: Iterable[int], dtype: DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._ends = np.cumsum(np.fromiter(lengths, np.int64))
        self._starts = np.concatenate(([0], self._ends))[:-1]
        self._map: Callable[[int], NDArray[Any]] = lru_cache(OPEN_SHARDS)(
            lambda number: np.memmap(paths[number], self.dtype, "r")
        )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, place: slice | NDArray[np.integer[Any]]) -> NDArray[Any]:
        """Some numbers, as for an array of NumPy: a slice without steps, or an array of indices from 0 on."""
        if isinstance(place, slice):
            start, stop, _ = place.indices(len(self))
            return self._slice(start, max(start, stop))
        indices = np.asarray(place)
        if indices.size and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"index out of range for {len(self):,} numbers")
        found = np.empty(indices.shape, self.dtype)
        homes = np.searchsorted(self._ends, indices, side="right")
        for home in np.unique(homes).tolist():
            here = homes == home
            found[here] = self._map(home)[indices[here] - self._starts[home]]
        return found

    def _slice(self, start: int, stop: int) -> NDArray[Any]:
        parts = [np.empty(0, self.dtype)]
        first = int(np.searchsorted(self._ends, start, side="right"))
        for home in range(first, len(self._ends)):
            base = int(self._starts[home])
            if base >= stop:
                break
            parts.append(self._map(home)[max(0, start - base) : stop - base])
        return np.concatenate(parts)


def open_tokens(folder: Path, shards: Sequence[Shard], dtype: DTypeLike) -> NDArray[Any] | JoinedArray:
    """(tokens,) all ids of a split, mapped."""
    size = np.dtype(dtype).itemsize
    full = [shard for shard in shards if shard.tokens.bytes]
    paths = [folder / f"{shard.name}.tokens" for shard in full]
    if not paths:
        return np.empty(0, dtype)
    if len(paths) == 1:
        return np.memmap(paths[0], dtype, "r")
    return JoinedArray(paths, (shard.tokens.bytes // size for shard in full), dtype)


def open_starts(folder: Path, shards: Sequence[Shard], array: Literal["documents", "chapters"], size: int) -> Any:
    """Where documents or chapters begin among all tokens of a split; a token has `size` bytes."""
    starts, base = [np.empty(0, np.int64)], 0
    for shard in shards:
        starts.append(np.fromfile(folder / f"{shard.name}.{array}", "<i8").astype(np.int64) + base)
        base += shard.tokens.bytes // size
    return np.concatenate(starts)


def unknown_of(shards: Iterable[Shard]) -> Unknown:
    """What is unknown in all of them."""
    return total_unknown(Unknown(shard.unknown, shard.unknown_bytes) for shard in shards)


def files_of(content: Mapping[str, Any]) -> set[str]:
    """The names of all files of an index that was just made."""
    shards = [*content["train"], *content["validation"]]
    return {TOKENIZER, REPORT, *(f"{shard['name']}.{array}" for shard in shards for array in ARRAYS)}
