"""SentencePiece models (`tokenizer.model`, `spiece.model`, `*.spm`): what such a file says, and one made.

Its protocol buffer is `sentencepiece_model.proto` of https://github.com/google/sentencepiece; a field that is absent
has the default given there.
"""

import math
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.interop.tokenizers.files import read_bytes
from openbook.interop.tokenizers.protobuf_wire import Value, fields, written
from openbook.text.corpus.printable import excerpt

MAXIMUM_PIECES = 1 << 22


class Kind(IntEnum):
    """What a piece is: text, the unknown, a special token, a word that is never split, nothing, or one byte."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """An entry of the vocabulary; its id is its place."""

    text: str
    score: float
    kind: Kind


@dataclass
class Model:
    """A vocabulary and how it is used."""

    pieces: list[Piece] = field(default_factory=list)
    unigram: bool = True
    byte_fallback: bool = False
    unknown: int = 0
    beginning: int = 1
    end: int = 2
    padding: int = -1
    space_behind: bool = False
    character_map: bytes = b""
    space_before: bool = True
    fewer_spaces: bool = True
    spaces_marked: bool = True


def read_model(path: Path) -> Model:
    """What a SentencePiece file says. Raises OpenbookError for whatever is wrong with it."""
    model = Model()
    try:
        for number, value in fields(memoryview(read_bytes(path))):
            match number:
                case 1:
                    model.pieces.append(_piece(_bytes(value)))
                case 2:
                    _read_training(model, _bytes(value))
                case 3:
                    _read_normalizer(model, _bytes(value))
            if len(model.pieces) > MAXIMUM_PIECES:
                raise OpenbookError(f"has more than {MAXIMUM_PIECES:,} pieces")
        _check(model)
    except OpenbookError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise OpenbookError(f"{path}: is no SentencePiece model that can be read ({reason}); copy it again") from None
    return model


def write_model(model: Model) -> bytes:
    """The file that `read_model` reads."""
    training = {3: 1 if model.unigram else 2, 24: model.space_behind, 35: model.byte_fallback}
    ids = {40: model.unknown, 41: model.beginning, 42: model.end, 43: model.padding}
    spaces = {3: model.space_before, 4: model.fewer_spaces, 5: model.spaces_marked}
    normalizer = written([(2, model.character_map), *spaces.items()])
    pieces = (
        (1, written([(1, each.text.encode()), (2, float(each.score)), (3, int(each.kind))])) for each in model.pieces
    )
    unknown = (45, model.pieces[model.unknown].text.encode())
    return written([*pieces, (2, written([*training.items(), *ids.items(), unknown])), (3, normalizer)])


def _piece(message: memoryview) -> Piece:
    text, score, kind = "", 0.0, Kind.NORMAL
    for number, value in fields(message):
        match number:
            case 1:
                text = _text(value)
            case 2 if isinstance(value, float) and math.isfinite(value):
                score = value
            case 3 if value in list(Kind):
                kind = Kind(int(value))
            case 2 | 3:
                raise OpenbookError(f"piece {excerpt(text)} has a score or kind that is none")
    return Piece(text, score, kind)


def _read_training(model: Model, message: memoryview) -> None:
    for number, value in fields(message):
        match number:
            case 3:
                if value not in (1, 2):
                    raise OpenbookError("it splits into words or characters; unigram and BPE are supported")
                model.unigram = value == 1
            case 24:
                model.space_behind = bool(value)
            case 35:
                model.byte_fallback = bool(value)
            case 40:
                model.unknown = _id(value)
            case 41:
                model.beginning = _id(value)
            case 42:
                model.end = _id(value)
            case 43:
                model.padding = _id(value)


def _read_normalizer(model: Model, message: memoryview) -> None:
    for number, value in fields(message):
        match number:
            case 2:
                model.character_map = bytes(_bytes(value))
            case 3:
                model.space_before = bool(value)
            case 4:
                model.fewer_spaces = bool(value)
            case 5:
                model.spaces_marked = bool(value)


def _check(model: Model) -> None:
    if not model.pieces:
        raise OpenbookError("it has no pieces")
    if not all(piece.text for piece in model.pieces):
        raise OpenbookError("a piece has no text")
    if len({piece.text for piece in model.pieces}) < len(model.pieces):
        raise OpenbookError("a piece is there twice")
    unknowns = [number for number, piece in enumerate(model.pieces) if piece.kind == Kind.UNKNOWN]
    if len(unknowns) != 1:
        raise OpenbookError(f"{len(unknowns)} pieces stand for the unknown; one should")
    model.unknown = unknowns[0]
    if model.space_behind or not model.spaces_marked:
        raise OpenbookError("it marks the end of words, or no spaces at all, which is not supported")
    if model.byte_fallback and sum(piece.kind == Kind.BYTE for piece in model.pieces) != 256:
        raise OpenbookError("it falls back to bytes but does not have all 256")


def _bytes(value: Value) -> memoryview:
    if not isinstance(value, memoryview):
        raise OpenbookError("a number stands where a message or text should")
    return value


def _text(value: Value) -> str:
    try:
        return bytes(_bytes(value)).decode()
    except UnicodeDecodeError:
        raise OpenbookError("a piece is not UTF-8") from None


def _id(value: Value) -> int:
    if not isinstance(value, int):
        raise OpenbookError("a token id is not a number")
    return value - (1 << 64) if value >> 63 else value  # int32, written with the sign of 64 bits
