"""A tokenizer as the fields of a GGUF file."""

import json
from typing import Any

from openbook.errors import OpenbookError, SettingError
from openbook.interop.gguf.pre_tokenizers import GPT2_PATTERN, PRE_TOKENIZERS
from openbook.interop.gguf.tokenizer_import import BYTE_LEVEL, PREFIX, SENTENCEPIECE, placeholder
from openbook.interop.tokenizers.sentencepiece_model import PieceType
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.byte_decoder import BYTE
from openbook.text.tokenizer.tokenizer import Tokenizer

NO_MERGE = -1e4
"""The score of a token that no merge makes."""


def tokenizer_fields(metadata: ModelMetadata) -> dict[str, Any]:
    """The fields that hold the tokenizer, what its special tokens are for, and the chat template.

    Raises OpenbookError for a tokenizer that the format has no place for.
    """
    tokenizer = metadata.make_tokenizer()
    content = json.loads(metadata.tokenizer)
    if content["model"].get("type") != "BPE" or metadata.source_tokenizer is not None:
        raise SettingError("GGUF files hold BPE tokenizers, and this is another; export with `to`=hf")
    tokens, kinds = _tokens(content, metadata.architecture.vocab_size)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in content["model"]["merges"]]
    fields: dict[str, Any] = {f"{PREFIX}tokens": tokens, f"{PREFIX}token_type": kinds}
    if _has(content.get("decoder"), "ByteLevel"):
        fields |= {f"{PREFIX}model": BYTE_LEVEL, f"{PREFIX}pre": _pre_tokenizer_name(content)}
        if merges:
            fields[f"{PREFIX}merges"] = merges
    elif content["model"].get("byte_fallback"):
        fields |= {f"{PREFIX}model": SENTENCEPIECE, f"{PREFIX}scores": _scores(tokens, merges)}
        fields[f"{PREFIX}add_space_prefix"] = _has(content.get("decoder"), "Strip")
    else:
        raise OpenbookError("GGUF files hold byte-level tokenizers, or those with byte fallback; this is neither")
    fields |= _special(tokenizer)
    if metadata.chat_template is not None:
        fields["tokenizer.chat_template"] = metadata.chat_template
    return fields


def _tokens(content: dict[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    """The token and the type of every id; ids without a token get a placeholder."""
    names = {number: token for token, number in content["model"]["vocab"].items()}
    kinds = dict.fromkeys(names, int(PieceType.NORMAL))
    if content["model"].get("byte_fallback"):
        kinds |= {number: int(PieceType.BYTE) for number, token in names.items() if BYTE.fullmatch(token)}
    for token in content["added_tokens"]:
        names[token["id"]] = token["content"]
        kinds[token["id"]] = int(PieceType.CONTROL if token["special"] else PieceType.USER_DEFINED)
    unknown = content["model"]["vocab"].get(content["model"].get("unk_token"))
    if unknown is not None:
        kinds[unknown] = int(PieceType.UNKNOWN)
    numbers = range(vocab_size)
    return [names.get(n, placeholder(n)) for n in numbers], [kinds.get(n, int(PieceType.UNUSED)) for n in numbers]


def _pre_tokenizer_name(content: dict[str, Any]) -> str:
    """The name of its pre-tokenizer."""
    found = tuple(_patterns(content.get("pre_tokenizer")))
    for name, pre_tokenizer in PRE_TOKENIZERS.items():
        if (
            found == pre_tokenizer.patterns
            and bool(content["model"].get("ignore_merges")) == pre_tokenizer.ignore_merges
        ):
            return name
    known = ", ".join(PRE_TOKENIZERS)
    raise SettingError(f"GGUF files name the pre-tokenizer, and this one is none of {known}; export with `to`=hf")


def _patterns(step: Any) -> list[str]:
    if not isinstance(step, dict):
        return []
    if step.get("type") == "Sequence":
        return [pattern for each in step["pretokenizers"] for pattern in _patterns(each)]
    if step.get("type") == "Split":
        return [str(step["pattern"].get("Regex"))]
    if step.get("type") == "Digits" and step.get("individual_digits"):
        return [r"\p{N}"]
    return [GPT2_PATTERN] if step.get("type") == "ByteLevel" and step.get("use_regex") else []


def _scores(tokens: list[str], merges: list[str]) -> list[float]:
    """Tokens that are merged earlier get higher scores, which gives the same order of merging."""
    made: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        made.setdefault(merge.replace(" ", ""), rank)
    return [-float(made[token]) if token in made else NO_MERGE for token in tokens]


def _special(tokenizer: Tokenizer) -> dict[str, Any]:
    special = tokenizer.special
    ids = {
        "bos_token_id": special.beginning,
        "eos_token_id": special.end[0],
        "eot_token_id": special.end[1] if len(special.end) > 1 else None,
        "unknown_token_id": special.unknown,
        "padding_token_id": special.padding,
    }
    fields: dict[str, Any] = {f"{PREFIX}{name}": number for name, number in ids.items() if number is not None}
    return fields | {f"{PREFIX}add_bos_token": bool(special.prefix)}


def _has(step: Any, kind: str) -> bool:
    """Whether a decoder is, or has among its steps, one of this kind."""
    return isinstance(step, dict) and (
        step.get("type") == kind or any(_has(each, kind) for each in step.get("decoders", ()))
    )
