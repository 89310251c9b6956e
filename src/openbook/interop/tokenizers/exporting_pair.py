"""Two vocabularies of pieces as SentencePiece models and the ids of their pieces."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openbook.interop.tokenizers.sentencepiece import Kind, Model, Piece, write_model
from openbook.interop.tokenizers.vocabulary import HIDDEN, SPACE
from openbook.text.tokenizer.byte_decoder import BYTE

NAMES = {"source": ("source.spm", "vocab.json"), "target": ("target.spm", "target_vocab.json")}


def write_pair(folder: Path, source: str, target: str) -> dict[str, Any] | None:
    """Write source.spm, target.spm and vocab.json, and target_vocab.json where the sides have ids of their own.

    Args:
        folder: exists already.
        source: the text of a tokenizer.json.
        target: that of the other side.

    Returns:
        What tokenizer_config.json says of them; None where one of the two is no vocabulary of scored pieces, for which
        there are no such files.
    """
    contents = {"source": json.loads(source), "target": json.loads(target)}
    if not all(map(_is_pieces, contents.values())):
        return None
    tables = {side: _table(content) for side, content in contents.items()}
    apart = tables["source"] != tables["target"]
    for side, (pieces, ids) in NAMES.items():
        (folder / pieces).write_bytes(write_model(_model(contents[side])))
        if side == "source" or apart:
            (folder / ids).write_text(json.dumps(tables[side], ensure_ascii=False) + "\n", encoding="utf-8")
    return {"separate_vocabs": apart}


def _is_pieces(content: Mapping[str, Any]) -> bool:
    steps = _steps(content)
    marked = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    return content["model"].get("type") == "Unigram" and marked in steps and content.get("pre_tokenizer") is None


def _table(content: Mapping[str, Any]) -> dict[str, int]:
    return {text.removeprefix(HIDDEN): number for number, (text, _) in enumerate(content["model"]["vocab"])}


def _model(content: Mapping[str, Any]) -> Model:
    """The pieces that are found in text; special tokens come first, as that library wants the unknown one."""
    special = {token["content"] for token in content["added_tokens"] if token["special"]}
    vocabulary, steps = content["model"]["vocab"], _steps(content)
    unknown = vocabulary[content["model"]["unk_id"]][0]
    ordinary = [(text, score) for text, score in vocabulary if text not in special and not text.startswith(HIDDEN)]
    maps = [step["precompiled_charsmap"] for step in steps if step["type"] == "Precompiled"]
    return Model(
        pieces=[
            Piece(unknown, 0.0, Kind.UNKNOWN),
            *(Piece(text, score, Kind.BYTE if _is_byte(content, text) else Kind.NORMAL) for text, score in ordinary),
        ],
        byte_fallback=bool(content["model"].get("byte_fallback")),
        beginning=-1,
        end=-1,
        character_map=base64.b64decode(maps[0]) if maps else b"",
        space_before=any(step["type"] == "Prepend" for step in steps),
        fewer_spaces=any(step["type"] == "Replace" and step["pattern"] == {"Regex": " +"} for step in steps),
    )


def _is_byte(content: Mapping[str, Any], text: str) -> bool:
    return bool(content["model"].get("byte_fallback")) and BYTE.fullmatch(text) is not None


def _steps(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    normalizer = content.get("normalizer") or {}
    return list(normalizer.get("normalizers", [normalizer] if normalizer else []))
