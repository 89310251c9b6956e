"""Reads the tokenizer of a folder, whatever files it is written in."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, normalizers
from tokenizers import Tokenizer as Backend

from openbook.errors import OpenbookError
from openbook.interop.tokenizers.bounded_files import read_ids, read_object, read_text
from openbook.interop.tokenizers.byte_level_bpe import read_ranked_json, read_ranks, read_vocabulary_and_merges
from openbook.interop.tokenizers.chat_template_files import read_chat_template
from openbook.interop.tokenizers.legacy_layout import LegacyLayout
from openbook.interop.tokenizers.missing_decoder import missing_decoder
from openbook.interop.tokenizers.post_processor import added_tokens, set_added_tokens
from openbook.interop.tokenizers.sentencepiece_backend import to_backend, with_ids, with_special_tokens
from openbook.interop.tokenizers.sentencepiece_model import read_model
from openbook.interop.tokenizers.special_token_roles import LANGUAGE, read_special_tokens
from openbook.interop.tokenizers.split_patterns import R50K_PATTERN, TIKTOKEN_ENCODINGS
from openbook.interop.tokenizers.tokenizer_config import TokenizerConfig
from openbook.text.plain_files import open_member
from openbook.text.tokenizer.bounds import check_added_tokens
from openbook.text.tokenizer.byte_level import byte_level_pre_tokenizer
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer

DEFAULT_LAYOUT = LegacyLayout()
SENTENCEPIECE_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model")
VOCABULARY_AND_MERGES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"), ("vocab.json", "vocab.bpe"))
TEKKEN_CONFIG = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "add_bos_token": True,
}
SUPPORTED = (
    "tokenizer.json",
    *SENTENCEPIECE_FILES,
    "source.spm with target.spm and vocab.json",
    "vocab.json with merges.txt",
    "tekken.json",
    "*.tiktoken",
)


@dataclass(frozen=True)
class ImportedTokenizer:
    """The tokenizer of a folder.

    Attributes:
        tokenizer: the text of a tokenizer.json.
        special_tokens: the roles of its special tokens.
        source_tokenizer: the same for sources, where they have a tokenizer of their own.
        chat_template: a Jinja template, or None.
        notes: what was guessed, replaced or left out, a line each.
    """

    tokenizer: str
    special_tokens: SpecialTokens
    source_tokenizer: str | None = None
    chat_template: str | None = None
    notes: tuple[str, ...] = ()


def read_tokenizer(folder: Path, layout: LegacyLayout = DEFAULT_LAYOUT) -> ImportedTokenizer:
    """Read the tokenizer of a folder. Nothing in the folder is run, and nothing is trusted.

    Args:
        folder: holds tokenizer files, and the configuration files that give the roles of special tokens.
        layout: how to read files older than tokenizer.json.

    Raises:
        OpenbookError: there are no such files, or one is damaged; the message names it.
    """
    notes: list[str] = []
    try:
        config = TokenizerConfig(folder)
        if (folder / "tokenizer.json").exists():
            text, backend, notes = read_tokenizer_json(folder / "tokenizer.json")
            source = None
            around = added_tokens(backend)
            special = read_special_tokens(config, backend, None)
            if around != added_tokens(backend):
                text = str(backend.to_str())
        else:
            backend, source = _read_legacy(folder, config, layout)
            special = read_special_tokens(config, backend, layout)
            if source is not None:
                set_added_tokens(source, special.prefix, special.suffix)
            text = str(backend.to_str())
        source_text = None if source is None else str(source.to_str())
        for each in filter(None, (text, source_text)):
            Tokenizer.from_json(each, special).token_bytes(special.end[0])  # its decoder is supported
        template, more = read_chat_template(folder, config.tokenizer)
    except OpenbookError as error:
        message = str(error)
        raise OpenbookError(message if message.startswith(str(folder)) else f"{folder}: {message}") from None
    return ImportedTokenizer(text, special, source_text, template, (*notes, *more))


def read_tokenizer_json(path: Path) -> tuple[str, Backend, list[str]]:
    """The text as it is (numbers written again might differ), the tokenizer, and notes.

    Raises:
        OpenbookError: it cannot be read as a tokenizer.
    """
    content, text, notes = read_object(path), read_text(path), []
    try:
        decoder = missing_decoder(content)
        if decoder is not None:
            notes.append(f"{path.name}: has no decoder; it gets the one that undoes its pre-tokenizer or normalizer")
            text = json.dumps({**content, "decoder": decoder}, ensure_ascii=False)
        Tokenizer.from_json(text, SpecialTokens(end=(0,)))
        backend = Backend.from_str(text)
        backend.no_padding()  # the file may ask for rows of any length
        backend.no_truncation()
        return text, backend, notes
    except OpenbookError as error:
        raise OpenbookError(f"{path}: {error}") from None


def _read_legacy(folder: Path, config: TokenizerConfig, layout: LegacyLayout) -> tuple[Backend, Backend | None]:
    """The tokenizer, and that of sources if they have their own."""
    if (folder / "source.spm").exists() and (folder / "target.spm").exists():
        target_ids = "target_vocab.json" if (folder / "target_vocab.json").exists() else "vocab.json"
        backend, source = (
            _from_sentencepiece(folder / name, config, layout, folder / ids)
            for name, ids in (("target.spm", target_ids), ("source.spm", "vocab.json"))
        )
        return backend, source
    for name in SENTENCEPIECE_FILES:
        if (path := folder / name).exists():
            if _has_ranks(path):
                return _from_ranks(path, config, layout), None
            ids = folder / "vocab.json"
            return _from_sentencepiece(path, config, layout, ids if ids.exists() else None), None
    if (path := folder / "tekken.json").exists():
        config.tokenizer = {**TEKKEN_CONFIG, **config.tokenizer}
        return read_ranked_json(path), None
    for path in sorted(folder.glob("*.tiktoken")):
        return _from_ranks(path, config, layout), None
    for vocabulary, merges in VOCABULARY_AND_MERGES:
        if (folder / vocabulary).exists() and (folder / merges).exists():
            return _from_merges(folder / vocabulary, folder / merges, config, layout), None
    raise OpenbookError(f"{folder}: has no tokenizer; it should hold one of {', '.join(SUPPORTED)}")


def _from_sentencepiece(path: Path, config: TokenizerConfig, layout: LegacyLayout, ids: Path | None) -> Backend:
    model = read_model(path)
    if ids is not None:
        table = read_ids(ids)
        named = [name for role in ("bos_token", "eos_token", "pad_token") if (name := config.token(role))]
        languages = [name for name in table if LANGUAGE.fullmatch(name)]
        model = with_ids(model, table, [*named, *languages, "<s>", "</s>", "<pad>"])
    if layout.first or layout.last:
        model = with_special_tokens(model, layout.first, layout.skipped, layout.last)
    backend = to_backend(model)
    for role, token_id in (("bos_token", model.bos_id), ("eos_token", model.eos_id), ("pad_token", model.pad_id)):
        if config.token(role) is None and ids is None and not layout.first and 0 <= token_id < len(model.pieces):
            config.tokenizer[role] = model.pieces[token_id].text
    for role, name in (("eos_token", "</s>"), ("pad_token", "<pad>"), ("unk_token", model.pieces[model.unk_id].text)):
        if config.token(role) is None and backend.token_to_id(name) is not None:
            config.tokenizer[role] = name
    if layout.prefix is None and not config.encoder_decoder:
        config.tokenizer.setdefault("add_bos_token", True)
    _add_tokens(backend, config)
    return backend


def _from_ranks(path: Path, config: TokenizerConfig, layout: LegacyLayout) -> Backend:
    pattern, special = TIKTOKEN_ENCODINGS.get(path.stem, (None, {}))
    pattern = layout.pattern or pattern
    if pattern is None:
        raise OpenbookError(f"{path}: the pattern that goes with these ranks is not known; get the tokenizer.json")
    listed = {name: token_id for token_id, name, flags in config.added_tokens() if flags.get("special")}
    backend = read_ranks(path, pattern, listed or special)
    if config.token("eos_token") is None and special:
        config.tokenizer["eos_token"] = next(iter(special))
    return backend


def _from_merges(vocabulary: Path, merges: Path, config: TokenizerConfig, layout: LegacyLayout) -> Backend:
    space = config.tokenizer.get("add_prefix_space") is True
    backend = read_vocabulary_and_merges(vocabulary, merges, space)
    if layout.pattern is not None and layout.pattern != R50K_PATTERN:
        backend.pre_tokenizer = byte_level_pre_tokenizer(layout.pattern, add_prefix_space=space)
    if layout.unicode_form is not None:
        backend.normalizer = normalizers.NFC()
    if config.token("eos_token") is None and backend.token_to_id("<|endoftext|>") is not None:
        config.tokenizer["eos_token"] = "<|endoftext|>"
    _add_tokens(backend, config)
    return backend


def _add_tokens(backend: Backend, config: TokenizerConfig) -> None:
    """Add the tokens that the configuration lists, under the ids that it gives them."""
    added = config.added_tokens()
    check_added_tokens(name for _, name, _ in added)
    backend.add_tokens([AddedToken(name, **flags) for _, name, flags in added])
    for token_id, name, _ in added:
        if backend.token_to_id(name) != token_id:
            raise OpenbookError(f"the added token {name!r} should have the id {token_id:,}, which is not the next")
    names = [config.token(role) for role in ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token")]
    known = [name for name in names if name is not None and backend.token_to_id(name) is not None]
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in dict.fromkeys(known)])


def _has_ranks(path: Path) -> bool:
    """Whether a file is lines of base 64 and a number, though it has the name of a SentencePiece model."""
    with open_member(path) as file:
        start = file.read(1000)
    return re.match(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n", start) is not None
