"""Sentence pairs and conversations as token ids in files, encoded once and found again by later runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from openbook.errors import OpenbookError
from openbook.progress import Advance, Track, silent
from openbook.text.chat.chat_tokenizer import ChatTokenizer
from openbook.text.corpus.working_directory import fingerprint_inputs
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.unknown import NOTHING_UNKNOWN, Unknown, UnknownCounter, token_lengths
from openbook.text.tokenizer.word_encoder import WordEncoder
from openbook.training.data.conversation_files import (
    Conversation,
    EncodedConversation,
    encode_with_answer_mask,
    read_conversations,
)
from openbook.training.data.pair_corpus import PairCorpus, PairSplit
from openbook.training.data.token_files import TokenFiles, flat, offsets, token_dtype

PART_PAIRS = 10_000
PART_CONVERSATIONS = 100

SIDES = ("source", "target")


@dataclass(frozen=True)
class TokenSequences:
    """Sequences of tokens, one behind the other: all sources, all targets, or all conversations."""

    ids: NDArray[Any]
    """[tokens]"""
    starts: NDArray[np.int64]
    """[sequences + 1]: where each sequence starts, and the number of all tokens."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[sequences] tokens of each."""
        return np.diff(self.starts)

    def span(self, index: int) -> slice:
        """Where a sequence is among all tokens."""
        return slice(self.starts[index], self.starts[index + 1])

    def __getitem__(self, index: int) -> NDArray[Any]:
        """The tokens of one sequence."""
        return self.ids[self.span(index)]


@dataclass(frozen=True)
class TokenizedPairs:
    """The tokens of the training or the validation pairs."""

    source: TokenSequences
    """Without special tokens, as the target."""
    target: TokenSequences
    target_bytes: NDArray[np.int64]
    """[pairs] UTF-8 bytes of each target, for bits per byte."""
    target_unknown: NDArray[Any] | None = None
    """[pairs, 2] unknown tokens of each target, and the bytes that they stand for; None: no target has any."""

    def __len__(self) -> int:
        return len(self.source)

    def unknown(self, indices: NDArray[np.int64]) -> Unknown:
        """What is unknown in the targets of these pairs."""
        found = self.target_unknown
        return NOTHING_UNKNOWN if found is None else Unknown(*found[indices].sum(0).tolist())


def tokenize_pairs(
    corpus: PairCorpus, source: Tokenizer, target: Tokenizer, folder: Path, *, track: Track = silent
) -> tuple[TokenizedPairs, TokenizedPairs]:
    """The training and the validation pairs, encoded on all cores; an interrupted run continues where it stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    identity = f"{corpus.fingerprint} {source.fingerprint} {target.fingerprint}"
    dtypes: dict[str, DTypeLike] = {"source.tokens": token_dtype(source), "target.tokens": token_dtype(target)}
    dtypes |= {"source.lengths": "<u4", "target.lengths": "<u4", "unknown": "<u4", "unknown_bytes": "<u4"}
    with track("Tokenizing", len(corpus.train) + len(corpus.validation)) as advance:
        train, validation = (
            _tokenize_pairs(split, (source, target), TokenFiles(folder / name, identity, dtypes, ["pairs"]), advance)
            for name, split in (("train", corpus.train), ("validation", corpus.validation))
        )
    return train, validation


def _tokenize_pairs(
    split: PairSplit, tokenizers: Sequence[Tokenizer], files: TokenFiles, advance: Advance
) -> TokenizedPairs:
    encoders = [WordEncoder(tokenizer) for tokenizer in tokenizers]
    counter = UnknownCounter(tokenizers[-1], named=False)
    advance(files.counts["pairs"])
    pairs = split.pairs(files.counts["pairs"])
    while part := list(islice(pairs, PART_PAIRS)):
        arrays: dict[str, NDArray[Any]] = {}
        for side, encoder, texts in zip(SIDES, encoders, zip(*part, strict=True), strict=True):
            ids = encoder.encode_batch(list(texts))
            arrays[f"{side}.tokens"] = np.concatenate(ids)
            arrays[f"{side}.lengths"] = np.array([len(each) for each in ids])
        unknown = [counter.count(pair.target, each) for pair, each in zip(part, ids, strict=True)]
        arrays["unknown"], arrays["unknown_bytes"] = np.array(unknown).T
        files.extend(arrays, {"pairs": len(part)})
        advance(len(part))
    source, target = (TokenSequences(files[f"{side}.tokens"], offsets(files[f"{side}.lengths"])) for side in SIDES)
    found = np.stack((files["unknown"], files["unknown_bytes"]), axis=1).astype(np.int64)
    return TokenizedPairs(source, target, split.index["target"].astype(np.int64), found)


@dataclass(frozen=True)
class TokenizedConversations(TokenSequences):
    """Conversations as the chat template writes them."""

    answer_mask: NDArray[np.bool_]
    """[tokens]: whether each belongs to an answer."""
    answer_bytes: NDArray[np.int64]
    """[conversations] UTF-8 bytes of the answers, for bits per byte."""
    answer_unknown: NDArray[np.int64] | None = None
    """[conversations, 2] unknown tokens of the answers, and the bytes that they stand for; None: no answer has any."""

    def unknown(self, indices: NDArray[np.int64]) -> Unknown:
        """What is unknown in the answers of these conversations."""
        found = self.answer_unknown
        return NOTHING_UNKNOWN if found is None else Unknown(*found[indices].sum(0).tolist())

    def select(self, indices: NDArray[np.int64]) -> "TokenizedConversations":
        """These conversations alone."""
        ids, answers = (
            np.concatenate([tokens[:0], *(tokens[self.span(index)] for index in indices)])
            for tokens in (self.ids, self.answer_mask)
        )
        unknown = None if self.answer_unknown is None else self.answer_unknown[indices]
        starts = offsets(self.lengths[indices])
        return TokenizedConversations(ids, starts, answers, self.answer_bytes[indices], unknown)


def tokenize_conversations(
    paths: Sequence[Path], tokenizer: Tokenizer, template: str, stem: Path, *, track: Track = silent
) -> TokenizedConversations:
    """Encode every conversation as the chat template writes it into the files STEM.*, or find it there.

    Raises:
        OpenbookError: there are none, or one cannot be read or is refused by the template; names its file and line.
    """
    chat = ChatTokenizer(tokenizer, template)
    identity = fingerprint_inputs([paths], tokenizer.fingerprint, tokenizer.special.to_dict(), template)
    dtypes: dict[str, DTypeLike] = {"tokens": token_dtype(tokenizer), "answers": "?"}
    dtypes |= {"lengths": "<u4", "answer_bytes": "<i8", "unknown": "<u4", "unknown_bytes": "<u4"}
    known_bytes = token_lengths(tokenizer)
    total = sum(1 for path in paths for _ in read_conversations(path))
    if not total:
        raise OpenbookError(f"{', '.join(map(str, paths))}: no conversations to learn from")
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = TokenFiles(stem, identity, dtypes, ["conversations"])
    with track("Reading conversations", total) as advance:
        done = files.counts["conversations"]
        advance(done)
        encoded = (_encode(chat, each) for each in islice(_conversations(paths), done, None))
        while part := list(islice(encoded, PART_CONVERSATIONS)):
            unknown, unknown_bytes = np.array([each.unknown for each in part]).T
            spelled = np.array([known_bytes[each.ids][each.answers].sum() for each in part])
            arrays = {
                "tokens": flat(each.ids for each in part),
                "answers": flat(each.answers for each in part),
                "lengths": np.array([len(each.ids) for each in part]),
                "answer_bytes": spelled + unknown_bytes,
                "unknown": unknown,
                "unknown_bytes": unknown_bytes,
            }
            files.extend(arrays, {"conversations": len(part)})
            advance(len(part))
    ids, starts = files["tokens"].astype(np.int64), offsets(files["lengths"])
    found = np.stack((files["unknown"], files["unknown_bytes"]), axis=1).astype(np.int64)
    return TokenizedConversations(ids, starts, np.array(files["answers"]), np.array(files["answer_bytes"]), found)


def _conversations(paths: Sequence[Path]) -> Iterator[tuple[str, Conversation]]:
    """All conversations, each with its file and number."""
    for path in paths:
        for number, conversation in enumerate(read_conversations(path), start=1):
            yield f"{path}: conversation {number:,}", conversation


def _encode(chat: ChatTokenizer, numbered: tuple[str, Conversation]) -> EncodedConversation:
    where, conversation = numbered
    try:
        return encode_with_answer_mask(chat, conversation)
    except OpenbookError as error:
        raise OpenbookError(f"{where}: {error}") from None
