"""Writes the two vocabularies of a translator as SentencePiece models and tables of ids."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openbook.interop.tokenizers.sentencepiece_backend import HIDDEN_PREFIX, META_SPACE
from openbook.interop.tokenizers.sentencepiece_model import Piece, PieceType, SentencePieceModel, write_model
from openbook.text.tokenizer.byte_decoder import BYTE

FILES = {"source": ("source.spm", "vocab.json"), "target": ("target.spm", "target_vocab.json")}


def write_tokenizer_pair(folder: Path, source: str, target: str) -> dict[str, Any] | None:
    """Write source.spm, target.spm and vocab.json, and target_vocab.json where the sides have ids of their own.

    Args:
        folder: exists already.
        source: the text of a tokenizer.json.
        target: that of the other side.

    Returns:
        What to add to tokenizer_config.json; None where one of the two is not a unigram vocabulary of SentencePiece.
    """
    contents = {"source": json.loads(source), "target": json.loads(target)}
    if not all(map(_is_sentencepiece, contents.values())):
        return None
    tables = {side: _ids(content) for side, content in contents.items()}
    separate = tables["source"] != tables["target"]
    for side, (model, ids) in FILES.items():
        (folder / model).write_bytes(write_model(_to_model(contents[side])))
        if side == "source" or separate:
            (folder / ids).write_text(json.dumps(tables[side], ensure_ascii=False) + "\n", encoding="utf-8")
    return {"separate_vocabs": separate}


def _is_sentencepiece(content: Mapping[str, Any]) -> bool:
    mark_spaces = {"type": "Replace", "pattern": {"String": " "}, "content": META_SPACE}
    marks = mark_spaces in _steps(content) and content.get("pre_tokenizer") is None
    return content["model"].get("type") == "Unigram" and marks


def _ids(content: Mapping[str, Any]) -> dict[str, int]:
    return {text.removeprefix(HIDDEN_PREFIX): token_id for token_id, (text, _) in enumerate(content["model"]["vocab"])}


def _to_model(content: Mapping[str, Any]) -> SentencePieceModel:
    """The pieces that are found in text, after the unknown one, which SentencePiece wants first."""
    special = {token["content"] for token in content["added_tokens"] if token["special"]}
    vocabulary, steps = content["model"]["vocab"], _steps(content)
    unknown = vocabulary[content["model"]["unk_id"]][0]
    normal = [(text, score) for text, score in vocabulary if text not in special and not text.startswith(HIDDEN_PREFIX)]
    maps = [step["precompiled_charsmap"] for step in steps if step["type"] == "Precompiled"]
    byte_fallback = bool(content["model"].get("byte_fallback"))

    def piece_type(text: str) -> PieceType:
        return PieceType.BYTE if byte_fallback and BYTE.fullmatch(text) else PieceType.NORMAL

    return SentencePieceModel(
        pieces=[
            Piece(unknown, 0.0, PieceType.UNKNOWN),
            *(Piece(text, score, piece_type(text)) for text, score in normal),
        ],
        byte_fallback=byte_fallback,
        bos_id=-1,
        eos_id=-1,
        precompiled_charsmap=base64.b64decode(maps[0]) if maps else b"",
        add_dummy_prefix=any(step["type"] == "Prepend" for step in steps),
        remove_extra_whitespaces=any(
            step["type"] == "Replace" and step["pattern"] == {"Regex": " +"} for step in steps
        ),
    )


def _steps(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    normalizer = content.get("normalizer") or {}
    return list(normalizer.get("normalizers", [normalizer] if normalizer else []))
