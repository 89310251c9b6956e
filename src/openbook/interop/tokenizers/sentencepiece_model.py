"""SentencePiece models (`tokenizer.model`, `spiece.model`, `*.spm`): read and written.

The format is `sentencepiece_model.proto` of https://github.com/google/sentencepiece, whose names the fields have here;
a field that is absent has the default given there.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.interop.tokenizers.bounded_files import read_bytes
from openbook.interop.tokenizers.protobuf_wire import Value, read_fields, write_fields
from openbook.text.printable import excerpt

MAXIMUM_PIECES = 1 << 22

# Numbers of fields.
PIECES, TRAINER, NORMALIZER = 1, 2, 3
PIECE, SCORE, TYPE = 1, 2, 3
MODEL_TYPE, UNK_PIECE = 3, 45
UNIGRAM, BPE = 1, 2
PRECOMPILED_CHARSMAP = 2
TRAINER_FLAGS = {24: "treat_whitespace_as_suffix", 35: "byte_fallback"}
TRAINER_IDS = {40: "unk_id", 41: "bos_id", 42: "eos_id", 43: "pad_id"}
NORMALIZER_FLAGS = {3: "add_dummy_prefix", 4: "remove_extra_whitespaces", 5: "escape_whitespaces"}


class PieceType(IntEnum):
    """What a piece is: text, the unknown token, a special token, a word that is never split, unused, or one byte."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """An entry of the vocabulary; its id is its index."""

    text: str
    score: float
    type: PieceType


@dataclass
class SentencePieceModel:
    """A vocabulary and how to use it."""

    pieces: list[Piece] = field(default_factory=list)
    unigram: bool = True
    byte_fallback: bool = False
    unk_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    pad_id: int = -1
    treat_whitespace_as_suffix: bool = False
    precompiled_charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


def read_model(path: Path) -> SentencePieceModel:
    """Read a SentencePiece file.

    Raises:
        OpenbookError: the file is damaged, or uses what is not supported.
    """
    model = SentencePieceModel()
    try:
        for number, value in read_fields(read_bytes(path)):
            if number == PIECES:
                model.pieces.append(_read_piece(_bytes(value)))
            elif number == TRAINER:
                _read_trainer(model, _bytes(value))
            elif number == NORMALIZER:
                _read_normalizer(model, _bytes(value))
            if len(model.pieces) > MAXIMUM_PIECES:
                raise OpenbookError(f"has more than {MAXIMUM_PIECES:,} pieces")
        _check(model)
    except OpenbookError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise OpenbookError(f"{path}: cannot be read as a SentencePiece model ({reason}); copy it again") from None
    return model


def write_model(model: SentencePieceModel) -> bytes:
    """The content of the file that `read_model` reads."""
    pieces = (
        write_fields([(PIECE, each.text.encode()), (SCORE, float(each.score)), (TYPE, int(each.type))])
        for each in model.pieces
    )
    trainer = write_fields(
        [
            (MODEL_TYPE, UNIGRAM if model.unigram else BPE),
            *_values(model, {**TRAINER_FLAGS, **TRAINER_IDS}),
            (UNK_PIECE, model.pieces[model.unk_id].text.encode()),
        ]
    )
    normalizer = write_fields([(PRECOMPILED_CHARSMAP, model.precompiled_charsmap), *_values(model, NORMALIZER_FLAGS)])
    return write_fields([*((PIECES, piece) for piece in pieces), (TRAINER, trainer), (NORMALIZER, normalizer)])


def _values(model: SentencePieceModel, names: Mapping[int, str]) -> list[tuple[int, int]]:
    return [(number, int(getattr(model, name))) for number, name in names.items()]


def _read_piece(message: bytes) -> Piece:
    text, score, kind = "", 0.0, PieceType.NORMAL
    for number, value in read_fields(message):
        if number == PIECE:
            text = _text(value)
        elif number == SCORE and isinstance(value, float) and math.isfinite(value):
            score = value
        elif number == TYPE and value in _PIECE_TYPES:
            kind = _PIECE_TYPES[value]
        elif number in (SCORE, TYPE):
            raise OpenbookError(f"piece {excerpt(text)} has an invalid score or type")
    return Piece(text, score, kind)


_PIECE_TYPES: dict[Value, PieceType] = {int(each): each for each in PieceType}


def _read_trainer(model: SentencePieceModel, message: bytes) -> None:
    for number, value in read_fields(message):
        if number == MODEL_TYPE:
            if value not in (UNIGRAM, BPE):
                raise OpenbookError("it splits text into words or characters; only unigram and BPE are supported")
            model.unigram = value == UNIGRAM
        elif number in TRAINER_FLAGS:
            setattr(model, TRAINER_FLAGS[number], bool(value))
        elif number in TRAINER_IDS:
            setattr(model, TRAINER_IDS[number], _id(value))


def _read_normalizer(model: SentencePieceModel, message: bytes) -> None:
    for number, value in read_fields(message):
        if number == PRECOMPILED_CHARSMAP:
            model.precompiled_charsmap = _bytes(value)
        elif number in NORMALIZER_FLAGS:
            setattr(model, NORMALIZER_FLAGS[number], bool(value))


def _check(model: SentencePieceModel) -> None:
    if not model.pieces:
        raise OpenbookError("it has no pieces")
    if not all(piece.text for piece in model.pieces):
        raise OpenbookError("a piece has no text")
    if len({piece.text for piece in model.pieces}) < len(model.pieces):
        raise OpenbookError("a piece occurs twice")
    unknown = [index for index, piece in enumerate(model.pieces) if piece.type == PieceType.UNKNOWN]
    if len(unknown) != 1:
        raise OpenbookError(f"{len(unknown)} pieces for unknown text; there should be one")
    model.unk_id = unknown[0]
    if model.treat_whitespace_as_suffix or not model.escape_whitespaces:
        raise OpenbookError("it marks spaces after words, or not at all; only marks before words are supported")
    if model.byte_fallback and sum(piece.type == PieceType.BYTE for piece in model.pieces) != 256:
        raise OpenbookError("it falls back to bytes but does not have all 256")


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise OpenbookError("a number where a message or text should be")
    return value


def _text(value: Value) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError:
        raise OpenbookError("a piece is not UTF-8") from None


def _id(value: Value) -> int:
    if not isinstance(value, int):
        raise OpenbookError("a token id is not a number")
    return value - (1 << 64) if value >> 63 else value  # int32, written with the sign of 64 bits
