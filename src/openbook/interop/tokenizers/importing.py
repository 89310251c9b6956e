"""The tokenizer in a folder, whatever files it is written in."""

import re
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from openbook.errors import OpenbookError
from openbook.interop.tokenizers import byte_level, sentencepiece
from openbook.interop.tokenizers import vocabulary as pieces
from openbook.interop.tokenizers.chat_templates import read_template
from openbook.interop.tokenizers.files import read_object, read_text
from openbook.interop.tokenizers.patterns import BY_NAME, FIRST, check_patterns
from openbook.interop.tokenizers.special_tokens import LANGUAGE, Configuration, read_special, set_template, template_of
from openbook.interop.tokenizers.tokenizer_file import Layout
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer

PLAIN = Layout()
PIECES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model")
RANKED_NAMES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "add_bos_token": True,
}
PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"), ("vocab.json", "vocab.bpe"))
KNOWN = (
    "tokenizer.json",
    *PIECES,
    "source.spm with target.spm and vocab.json",
    "vocab.json with merges.txt",
    "tekken.json",
    "*.tiktoken",
)


@dataclass(frozen=True)
class ForeignTokenizer:
    """What a folder says of text.

    Attributes:
        tokenizer: the text of a tokenizer.json.
        special_tokens: what its special tokens are for.
        source_tokenizer: the same for sources, where another one reads them.
        chat_template: a Jinja template, or None.
    """

    tokenizer: str
    special_tokens: SpecialTokens
    source_tokenizer: str | None = None
    chat_template: str | None = None


def read_tokenizer(folder: Path, layout: Layout = PLAIN) -> ForeignTokenizer:
    """The tokenizer in a folder as other programs write it; nothing in it is run, and nothing is trusted.

    Args:
        folder: holds tokenizer files, and the configuration files that speak of special tokens.
        layout: how files older than tokenizer.json are meant.

    Raises:
        OpenbookError: there are no such files, or what is wrong with them.
    """
    try:
        configuration = Configuration(folder)
        if (folder / "tokenizer.json").exists():
            text, backend, source = *_read_json(folder / "tokenizer.json"), None
            around = template_of(backend)
            special = read_special(configuration, backend, None)
            if around != template_of(backend):
                text = str(backend.to_str())
        else:
            backend, source = _read_older(folder, configuration, layout)
            special = read_special(configuration, backend, layout)
            if source is not None:
                set_template(source, special.prefix, special.suffix)
            text = str(backend.to_str())
        source_text = None if source is None else str(source.to_str())
        for each in filter(None, (text, source_text)):
            Tokenizer.from_json(each, special).token_bytes(special.end[0])  # its decoder is one that is understood
        template = read_template(folder, configuration.tokenizer)
    except OpenbookError as error:
        message = str(error)
        raise OpenbookError(message if message.startswith(str(folder)) else f"{folder}: {message}") from None
    return ForeignTokenizer(text, special, source_text, template)


def _read_json(path: Path) -> tuple[str, Backend]:
    """The text as it is (writing floating-point numbers anew would change some), and the tokenizer."""
    content, text = read_object(path), read_text(path)
    try:
        check_patterns(content)
        Tokenizer.from_json(text, SpecialTokens(end=(0,)))
        return text, Backend.from_str(text)
    except OpenbookError as error:
        raise OpenbookError(f"{path}: {error}; do not use this file") from None


def _read_older(folder: Path, configuration: Configuration, layout: Layout) -> tuple[Backend, Backend | None]:
    """The tokenizer, and that of sources if it is another."""
    if (folder / "source.spm").exists() and (folder / "target.spm").exists():
        apart = "target_vocab.json" if (folder / "target_vocab.json").exists() else "vocab.json"
        backend, source = (
            _from_pieces(folder / name, configuration, layout, folder / ids)
            for name, ids in (("target.spm", apart), ("source.spm", "vocab.json"))
        )
        return backend, source
    for name in PIECES:
        if (path := folder / name).exists():
            if not _looks_like_ranks(path):
                ids = folder / "vocab.json"
                return _from_pieces(path, configuration, layout, ids if ids.exists() else None), None
            return _from_ranks(path, configuration, layout), None
    if (path := folder / "tekken.json").exists():
        configuration.tokenizer = {**RANKED_NAMES, **configuration.tokenizer}
        return byte_level.read_ranked_json(path), None
    for path in sorted(folder.glob("*.tiktoken")):
        return _from_ranks(path, configuration, layout), None
    for vocabulary, merges in PAIRS:
        if (folder / vocabulary).exists() and (folder / merges).exists():
            return _from_merges(folder / vocabulary, folder / merges, configuration, layout), None
    raise OpenbookError(f"{folder}: has no tokenizer; one of {', '.join(KNOWN)} should be there")


def _from_pieces(path: Path, configuration: Configuration, layout: Layout, ids: Path | None) -> Backend:
    model = sentencepiece.read_model(path)
    if ids is not None:
        table = read_object(ids)
        if not all(isinstance(number, int) and not isinstance(number, bool) for number in table.values()):
            raise OpenbookError(f"{ids}: should map each token to its number; copy or download it again")
        named = [name for role in ("bos_token", "eos_token", "pad_token") if (name := configuration.name(role))]
        languages = [name for name in table if LANGUAGE.fullmatch(name)]
        model = pieces.by_ids(model, table, [*named, *languages, "<s>", "</s>", "<pad>"])
    if layout.first or layout.last:
        model = pieces.rearranged(model, layout.first, layout.skipped, layout.last)
    backend = pieces.to_backend(model)
    for role, number in (("bos_token", model.beginning), ("eos_token", model.end), ("pad_token", model.padding)):
        if configuration.name(role) is None and ids is None and not layout.first and 0 <= number < len(model.pieces):
            configuration.tokenizer[role] = model.pieces[number].text
    for role, name in (("eos_token", "</s>"), ("pad_token", "<pad>"), ("unk_token", model.pieces[model.unknown].text)):
        if configuration.name(role) is None and backend.token_to_id(name) is not None:
            configuration.tokenizer[role] = name
    if layout.prefix is None and not configuration.encoder_decoder:
        configuration.tokenizer.setdefault("add_bos_token", True)
    _add_tokens(backend, configuration)
    return backend


def _from_ranks(path: Path, configuration: Configuration, layout: Layout) -> Backend:
    named, special = BY_NAME.get(path.stem, (None, {}))
    pattern = layout.pattern or named
    if pattern is None:
        raise OpenbookError(f"{path}: the pattern that goes with these ranks is not known; get the tokenizer.json")
    listed = {name: number for number, name, flags in configuration.tokens() if flags.get("special")}
    backend = byte_level.read_ranks(path, pattern, listed or special)
    if configuration.name("eos_token") is None and special:
        configuration.tokenizer["eos_token"] = next(iter(special))
    return backend


def _from_merges(vocabulary: Path, merges: Path, configuration: Configuration, layout: Layout) -> Backend:
    space = configuration.tokenizer.get("add_prefix_space") is True
    backend = byte_level.read_vocabulary_and_merges(vocabulary, merges, space)
    if layout.pattern is not None and layout.pattern != FIRST:
        split = pre_tokenizers.Split(Regex(layout.pattern), "isolated")
        to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    if layout.unicode_form is not None:
        backend.normalizer = normalizers.NFC()
    if configuration.name("eos_token") is None and backend.token_to_id("<|endoftext|>") is not None:
        configuration.tokenizer["eos_token"] = "<|endoftext|>"
    _add_tokens(backend, configuration)
    return backend


def _add_tokens(backend: Backend, configuration: Configuration) -> None:
    """Add the tokens that the configuration lists, under the ids that it gives them."""
    for number, name, flags in configuration.tokens():
        special = flags.pop("special", False)
        backend.add_tokens([AddedToken(name, special=special, **flags)])
        if backend.token_to_id(name) != number:
            raise OpenbookError(f"the added token {name!r} should have the id {number:,}, which is not the next")
    names = [configuration.name(role) for role in ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token")]
    known = [name for name in names if name is not None and backend.token_to_id(name) is not None]
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in dict.fromkeys(known)])


def _looks_like_ranks(path: Path) -> bool:
    """Whether a file is lines of base 64 and a number, though it is called as a SentencePiece model."""
    with path.open("rb") as file:
        start = file.read(1000)
    return re.match(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n", start) is not None
