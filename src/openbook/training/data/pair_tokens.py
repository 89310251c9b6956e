"""Sentence pairs as token ids in memory-mapped files, and the vocabularies that they are spelled in."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbook.progress import Track, silent
from openbook.text.corpus.read_batch import save_json
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.word_encoder import WordEncoder
from openbook.training.data.pair_corpus import PairCorpus, PairSplit

PART = 10_000
"""Pairs that are encoded in one go; after each part, work is safe from interruption."""

SIDES = ("source", "target")


@dataclass(frozen=True)
class TokenSide:
    """All sources, or all targets."""

    ids: NDArray[Any]
    """[tokens], memory-mapped: uint16 where the vocabulary fits, else uint32. Without any special tokens."""
    starts: NDArray[np.int64]
    """[pairs + 1]: where each sentence starts, and the number of all tokens."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[pairs] tokens of each sentence."""
        return np.diff(self.starts)

    def __getitem__(self, number: int) -> NDArray[Any]:
        """The tokens of one sentence."""
        return self.ids[self.starts[number] : self.starts[number + 1]]


@dataclass(frozen=True)
class TokenPairs:
    """The tokens of the training or the validation pairs."""

    source: TokenSide
    target: TokenSide
    target_bytes: NDArray[np.int64]
    """[pairs] UTF-8 bytes of each target, for bits a byte."""

    def __len__(self) -> int:
        return len(self.source)


def sample_pairs(split: PairSplit, limit: int, *, source: bool, target: bool) -> Iterator[str]:
    """One side or both of all pairs, or of some spread evenly, about `limit` bytes of text."""
    every = max(1, -(-(split.source_bytes + split.target_bytes) // limit))
    for number, pair in enumerate(split.pairs()):
        if number % every == 0:
            if source:
                yield pair.source
            if target:
                yield pair.target


def tokenize_pairs(
    corpus: PairCorpus, source: Tokenizer, target: Tokenizer, folder: Path, *, track: Track = silent
) -> tuple[TokenPairs, TokenPairs]:
    """Encode the training and the validation pairs into `folder`, or find them there; goes on where it stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    identity = f"{corpus.fingerprint} {source.fingerprint} {target.fingerprint}"
    splits = {"train": corpus.train, "validation": corpus.validation}
    with track("Tokenising", sum(map(len, splits.values()))) as advance:
        writers = [_Writer(folder / name, identity, split, (source, target)) for name, split in splits.items()]
        for writer in writers:
            advance(writer.progress.pairs)
            for done in writer.work():
                advance(done)
    train, validation = (writer.result() for writer in writers)
    return train, validation


@dataclass
class _Progress:
    """How far the encoding of a split has come; kept beside the tokens as JSON."""

    identity: str
    pairs: int = 0
    source: int = 0
    target: int = 0


class _Writer:
    """Encodes one split. What a killed run wrote after the progress it saved is written again."""

    def __init__(self, stem: Path, identity: str, split: PairSplit, tokenizers: tuple[Tokenizer, Tokenizer]) -> None:
        self._state = stem.with_suffix(".json")
        self._split = split
        self._encoders = [WordEncoder(tokenizer) for tokenizer in tokenizers]
        self._dtypes = [np.dtype("<u2" if each.vocab_size <= 1 << 16 else "<u4") for each in tokenizers]
        self._ids, self._lengths = (
            [stem.with_suffix(f".{side}.{what}") for side in SIDES] for what in ("tokens", "lengths")
        )
        self.progress = self._load(identity)

    def _load(self, identity: str) -> _Progress:
        try:
            progress = _Progress(**json.loads(self._state.read_text("utf-8")))
            tokens = (progress.source, progress.target)
            enough = all(
                ids.stat().st_size >= count * dtype.itemsize and lengths.stat().st_size >= 4 * progress.pairs
                for ids, lengths, count, dtype in zip(self._ids, self._lengths, tokens, self._dtypes, strict=True)
            )
            if progress.identity == identity and enough:
                return progress
        except (OSError, TypeError, ValueError):
            pass  # nothing there, or not in a state to go on from
        return _Progress(identity)

    def work(self) -> Iterator[int]:
        """Encode what is left; yields the number of pairs of each part."""
        progress = self.progress
        for place, size in [
            *zip(self._ids, self._token_bytes(), strict=True),
            *((lengths, 4 * progress.pairs) for lengths in self._lengths),
        ]:
            with place.open("ab") as file:
                file.truncate(size)
        pairs = self._split.pairs(progress.pairs)
        while part := list(islice(pairs, PART)):
            counts = [self._append(side, [pair[side] for pair in part]) for side in range(2)]
            progress.pairs += len(part)
            progress.source += counts[0]
            progress.target += counts[1]
            save_json(self._state, asdict(progress))
            yield len(part)

    def _token_bytes(self) -> tuple[int, int]:
        source, target = self._dtypes
        return self.progress.source * source.itemsize, self.progress.target * target.itemsize

    def _append(self, side: int, texts: list[str]) -> int:
        """Encode and write one side of a part; the number of its tokens."""
        ids = self._encoders[side].encode_batch(texts)
        for place, values in (
            (self._ids[side], np.array(list(chain.from_iterable(ids)), self._dtypes[side])),
            (self._lengths[side], np.array([len(each) for each in ids], "<u4")),
        ):
            with place.open("ab") as file:
                file.write(values.tobytes())
                file.flush()
                os.fsync(file.fileno())
        return sum(map(len, ids))

    def result(self) -> TokenPairs:
        """All of it, mapped."""
        sides = []
        for ids, lengths, dtype in zip(self._ids, self._lengths, self._dtypes, strict=True):
            starts = np.concatenate([[0], np.cumsum(np.fromfile(lengths, "<u4"), dtype=np.int64)])
            # An empty file cannot be mapped.
            sides.append(TokenSide(np.memmap(ids, dtype, "r") if starts[-1] else np.empty(0, dtype), starts))
        source, target = sides
        return TokenPairs(source, target, self._split.places["target"].astype(np.int64))
