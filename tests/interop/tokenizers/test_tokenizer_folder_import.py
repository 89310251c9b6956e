"""Ids are those that the libraries which define the formats give, on any text."""

import base64
import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sentencepiece
import tiktoken
from hypothesis import given
from tokenizer_examples import (
    TEXT,
    byte_level,
    nameless_texts,
    nasty_text,
    pieces,
    ranks,
    texts,
    without_names,
    write_json,
    write_merges,
    write_ranks,
)
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer, GPT2TokenizerFast, MarianTokenizer, T5Tokenizer

from openbook.errors import OpenbookError
from openbook.interop.tokenizers import LegacyLayout, read_tokenizer, write_tokenizer, write_tokenizer_pair
from openbook.interop.tokenizers.split_patterns import R50K_PATTERN, TIKTOKEN_ENCODINGS
from openbook.text.tokenizer.tokenizer import StreamDecoder, Tokenizer
from openbook.text.tokenizer.training import train_tokenizer

# Options of SentencePiece's trainer: each is another way to treat text.
MODELS = {
    # (The character map of "nmt_nfkc" is held to transformers below: the `tokenizers` library maps what stands for one
    # letter together, such as a space with a joiner, where this one maps character by character.)
    "pairs": {
        "model_type": "bpe", "byte_fallback": True, "split_digits": True, "normalization_rule_name": "identity",
    },
    "pairs, as they are": {
        "model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True,
    },
    "unigram, as they are": {
        "normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": False,
    },
    "unigram with bytes": {"byte_fallback": True, "normalization_rule_name": "identity"},
}  # fmt: skip


def read(folder: Path, layout: LegacyLayout | None = None) -> Tokenizer:
    found = read_tokenizer(folder, layout or LegacyLayout())
    return Tokenizer.from_json(found.tokenizer, found.special_tokens)


@pytest.mark.parametrize("name", MODELS)
def test_sentencepiece_is_equal_to_its_own_library(name: str, tmp_path: Path) -> None:
    content = pieces(**MODELS[name])
    (tmp_path / "tokenizer.model").write_bytes(content)
    tokenizer, reference = read(tmp_path), sentencepiece.SentencePieceProcessor(model_proto=content)
    assert tokenizer.vocab_size == reference.get_piece_size()
    assert (tokenizer.special.prefix, tokenizer.special.end) == ((reference.bos_id(),), (reference.eos_id(),))

    @given(texts)
    def same(text: str) -> None:
        if "<0x" in text and "unigram" in name:
            return  # the library finds the name of a byte in text
        ids = tokenizer.encode(text)
        assert ids == reference.encode(text)
        assert tokenizer.encode_prompt(text) == [reference.bos_id(), *ids]
        assert not {0, 1, 2} & set(ids) or 0 in reference.encode(text)

    same()


@pytest.fixture(scope="module")
def t5_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t5")
    content = pieces(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    (folder / "spiece.model").write_bytes(content)
    write_json(folder / "config.json", {"is_encoder_decoder": True, "decoder_start_token_id": 0, "pad_token_id": 0})
    return folder


def test_unigram_is_equal_to_transformers(t5_like: Path) -> None:
    layout = LegacyLayout(last=tuple(f"<extra_id_{number}>" for number in range(99, -1, -1)))
    tokenizer, reference = read(t5_like, layout), T5Tokenizer.from_pretrained(t5_like)
    special = tokenizer.special
    assert (special.end, special.suffix, special.prefix, special.decoder_start) == ((1,), (1,), (), 0)
    assert (special.padding, special.unknown) == (0, 2)
    assert tokenizer.special_ids["<extra_id_0>"] == reference.convert_tokens_to_ids("<extra_id_0>")

    @given(nameless_texts)
    def same(text: str) -> None:
        # Transformers also splits at U+0085, which the library that defines the format takes for a letter.
        text = without_names(text.replace("\x85", ""))
        assert tokenizer.encode_source(text) == reference(text)["input_ids"]

    same()
    assert 1 not in tokenizer.encode("</s>")  # the same pieces, but text cannot end itself
    assert tokenizer.encode("</s>", allow_special=True).count(1) == 1


def test_words_that_are_never_split(tmp_path: Path) -> None:
    content = pieces(user_defined_symbols="o’clock,[X]", control_symbols="<lang>")
    (tmp_path / "tokenizer.model").write_bytes(content)
    tokenizer, reference = read(tmp_path), sentencepiece.SentencePieceProcessor(model_proto=content)
    for text in ("It’s 12 o’clock", "a[X]b [X]", "[X]", "<lang> is text"):
        assert tokenizer.encode(text) == reference.encode(text)
    assert set(tokenizer.special_ids) == {"<unk>", "<s>", "</s>", "<lang>"}


def test_merges_are_equal_to_transformers(tmp_path: Path) -> None:
    write_merges(tmp_path)
    write_merges(tmp_path, ("encoder.json", "vocab.bpe"))
    reference = GPT2TokenizerFast.from_pretrained(tmp_path)
    tokenizer = read(tmp_path)
    assert tokenizer.special.to_dict() == {"end": [byte_level()[0]["<|endoftext|>"]]}

    @given(texts)
    def same(text: str) -> None:
        ids = tokenizer.encode(text)
        assert ids == reference(text, split_special_tokens=True)["input_ids"]
        assert tokenizer.decode(ids) == text
        stream = StreamDecoder(tokenizer)
        assert "".join(map(stream.feed, [[number] for number in ids])) + stream.flush() == text

    same()
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).unlink()
    assert read(tmp_path).fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("name", ["r50k_base", "cl100k_base", "o200k_base"])
def test_ranks_are_equal_to_tiktoken(name: str, tmp_path: Path) -> None:
    write_ranks(tmp_path / "tokenizer.model")
    with pytest.raises(OpenbookError, match="the pattern that goes with these ranks is not known"):
        read(tmp_path)
    special = {"<|endoftext|>": 600}
    write_json(
        tmp_path / "tokenizer_config.json",
        {
            "eos_token": "<|endoftext|>",
            "added_tokens_decoder": {str(number): {"content": n, "special": True} for n, number in special.items()},
        },
    )
    tokenizer = read(tmp_path, LegacyLayout(pattern=TIKTOKEN_ENCODINGS[name][0]))
    pattern = TIKTOKEN_ENCODINGS[name][0]
    reference = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks(), special_tokens=special)
    assert tokenizer.special.end == (600,)

    @given(texts)
    def same(text: str) -> None:
        assert tokenizer.encode(text) == reference.encode(text, disallowed_special=())
        assert tokenizer.decode(tokenizer.encode(text)) == text

    same()
    assert tokenizer.encode("a<|endoftext|>b", allow_special=True) == reference.encode(
        "a<|endoftext|>b", allowed_special="all"
    )


def test_ranks_whose_special_tokens_come_first(tmp_path: Path) -> None:
    entries = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for token, rank in ranks().items()
    ]
    config = {"pattern": R50K_PATTERN, "default_vocab_size": len(entries) + 10, "default_num_special_tokens": 10}
    write_json(tmp_path / "tekken.json", {"config": config, "vocab": [*entries, {"rank": 1, "token_bytes": "no"}]})
    tokenizer = read(tmp_path)
    reference = tiktoken.Encoding("small", pat_str=R50K_PATTERN, mergeable_ranks=ranks(), special_tokens={})
    assert (tokenizer.special.prefix, tokenizer.special.end) == ((1,), (2,))

    @given(texts)
    def same(text: str) -> None:
        assert tokenizer.encode(text) == [10 + number for number in reference.encode(text, disallowed_special=())]

    same()
    assert tokenizer.encode("[INST]a</s>", allow_special=True)[0::2] == [3, 2]
    assert min(tokenizer.encode("[INST]a</s>")) >= 10


def test_two_models_that_share_a_table_of_ids(tmp_path: Path) -> None:
    one, other = pieces(vocab_size=300), pieces(vocab_size=420)
    processors = [sentencepiece.SentencePieceProcessor(model_proto=content) for content in (one, other)]
    names = dict.fromkeys(each.id_to_piece(i) for each in processors for i in range(3, each.get_piece_size()))
    table = {name: number for number, name in enumerate(["</s>", "<unk>", ">>deu<<", *names, "<pad>"])}
    (tmp_path / "source.spm").write_bytes(one)
    (tmp_path / "target.spm").write_bytes(other)
    write_json(tmp_path / "vocab.json", table)
    write_json(
        tmp_path / "config.json",
        {
            "is_encoder_decoder": True,
            "decoder_start_token_id": table["<pad>"],
            "bad_words_ids": [[table["<pad>"]]],
            "forced_eos_token_id": 0,
        },
    )
    found = read_tokenizer(tmp_path)
    assert found.source_tokenizer is not None
    special = found.special_tokens
    assert (special.end, special.suffix, special.padding, special.unknown) == ((0,), (0,), table["<pad>"], 1)
    assert (special.decoder_start, special.suppressed, special.forced_end) == (table["<pad>"], (table["<pad>"],), 0)
    assert special.languages == {"deu": 2}
    source, target = (Tokenizer.from_json(text, special) for text in (found.source_tokenizer, found.tokenizer))

    @given(nameless_texts)
    def same(text: str) -> None:
        for tokenizer, reference in zip((source, target), processors, strict=True):
            expected = [table.get(piece, 1) for piece in reference.encode(text, out_type=str)]
            assert tokenizer.encode(text) == expected

    same()
    assert source.encode_source("two", "deu") == [2, *source.encode("two"), 0]
    # Their own class reads what is written, and so do we where there is nothing else.
    out = tmp_path / "out"
    out.mkdir()
    assert write_tokenizer_pair(out, found.source_tokenizer, found.tokenizer) == {"separate_vocabs": False}
    shutil.copy(tmp_path / "config.json", out)
    theirs = MarianTokenizer(*(str(out / name) for name in ("source.spm", "target.spm", "vocab.json")))
    again = read_tokenizer(out)
    assert (again.special_tokens, len(list(out.iterdir()))) == (special, 4)
    ours = [Tokenizer.from_json(text, special) for text in (again.source_tokenizer, again.tokenizer)]

    @given(nameless_texts)
    def same_again(text: str) -> None:
        for tokenizer, first in zip(ours, (source, target), strict=True):
            assert tokenizer.encode(text) == first.encode(text)
        for ids, reference in zip((theirs(text), theirs(text_target=text)), processors, strict=True):
            expected = [table.get(piece, 1) for piece in reference.encode(text, out_type=str)]
            assert text.startswith(">>") or ids["input_ids"] == [*expected, 0]

    same_again()
    for name, number in table.items():  # also the pieces of the other language can be read
        assert target.token_bytes(number).decode() == (name if name.startswith("<") else name.replace("▁", " "))


def test_two_models_with_ids_of_their_own(tmp_path: Path) -> None:
    for side, ids, content in (
        ("source", "vocab.json", pieces(vocab_size=300)),
        ("target", "target_vocab.json", pieces(byte_fallback=True, normalization_rule_name="identity")),
    ):
        (tmp_path / f"{side}.spm").write_bytes(content)
        processor = sentencepiece.SentencePieceProcessor(model_proto=content)
        names = [processor.id_to_piece(number) for number in range(3, processor.get_piece_size())]
        write_json(
            tmp_path / ids, {name: number for number, name in enumerate(["</s>", "<unk>", *reversed(names), "<pad>"])}
        )
    write_json(tmp_path / "config.json", {"is_encoder_decoder": True})
    found, out = read_tokenizer(tmp_path), tmp_path / "out"
    out.mkdir()
    assert write_tokenizer_pair(out, found.source_tokenizer, found.tokenizer) == {"separate_vocabs": True}
    files = ("source.spm", "target.spm", "vocab.json", "target_vocab.json")
    theirs = [
        MarianTokenizer(*(str(folder / name) for name in files), separate_vocabs=True) for folder in (tmp_path, out)
    ]
    ours = [Tokenizer.from_json(text, found.special_tokens) for text in (found.source_tokenizer, found.tokenizer)]
    for text in ("two words", "naïve ½ 12  café\n", "", "猫", " The"):
        for each in theirs:
            assert each(text)["input_ids"] == [*ours[0].encode(text), 0]
            assert each(text_target=text)["input_ids"] == [*ours[1].encode(text), 0]
    assert write_tokenizer_pair(out, found.tokenizer, byte_level_json()) is None


def byte_level_json() -> str:
    """A tokenizer that has no scores."""
    from openbook.text.tokenizer.training import train_tokenizer

    return train_tokenizer(["the cat " * 20], "bpe", 270).to_json()


@pytest.mark.parametrize("place", ["before", "after"])
def test_language_codes(place: str, tmp_path: Path) -> None:
    (tmp_path / "sentencepiece.bpe.model").write_bytes(pieces())
    write_json(tmp_path / "config.json", {"is_encoder_decoder": True})
    codes = ("de_DE", "en_XX")
    around = {"before": {"prefix": ("en_XX",), "suffix": ("</s>",)}, "after": {"suffix": ("</s>", "en_XX")}}[place]
    layout = LegacyLayout(first=("<s>", "<pad>", "</s>", "<unk>"), skipped=3, last=(*codes, "<mask>"), **around)
    tokenizer = read(tmp_path, layout)
    special = tokenizer.special
    assert special.languages == {code: tokenizer.special_ids[code] for code in codes}
    assert special.language_position == place
    text = tokenizer.encode("two")
    code = special.languages["de_DE"]
    assert tokenizer.encode_source("two", "de_DE") == ([code, *text, 2] if place == "before" else [*text, 2, code])
    reference = sentencepiece.SentencePieceProcessor(model_proto=pieces())
    assert tokenizer.encode("two words") == [
        number + 1 if number > 2 else 3 for number in reference.encode("two words")
    ]


@pytest.mark.parametrize("kind", ["pairs", "unigram", "merges"])
def test_what_is_written_is_loaded_by_transformers(kind: str, tmp_path: Path, t5_like: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    out.mkdir()
    if kind == "unigram":
        shutil.copytree(t5_like, source)
    else:
        source.mkdir()
        if kind == "pairs":
            (source / "tokenizer.model").write_bytes(pieces(**MODELS["pairs"]))
        else:
            write_merges(source)
    (source / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content }}")
    first = read_tokenizer(source)
    write_tokenizer(out, first.tokenizer, first.special_tokens, first.chat_template, context=77)
    reference, again = AutoTokenizer.from_pretrained(out), read_tokenizer(out)
    assert again.tokenizer == first.tokenizer
    assert again.chat_template == first.chat_template == reference.chat_template
    expected = first.special_tokens.to_dict() | {"decoder_start": None}
    assert again.special_tokens.to_dict() | {"decoder_start": None} == expected  # this stands in config.json
    assert (reference.eos_token_id, reference.model_max_length) == (first.special_tokens.end[0], 77)
    tokenizer = Tokenizer.from_json(first.tokenizer, first.special_tokens)

    @given(texts)
    def same(text: str) -> None:
        ids = tokenizer.encode(text, allow_special=True)
        assert reference(text)["input_ids"] == [*first.special_tokens.prefix, *ids, *first.special_tokens.suffix]

    same()


def test_a_folder_of_tokenizer_json(tmp_path: Path) -> None:
    write_merges(tmp_path)
    first = read_tokenizer(tmp_path)
    content = json.loads(first.tokenizer)
    content["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    write_json(tmp_path / "tokenizer.json", content)
    write_json(tmp_path / "tokenizer_config.json", {"eos_token": {"content": "<|endoftext|>"}, "add_bos_token": False})
    write_json(tmp_path / "generation_config.json", {"eos_token_id": [7, 8], "suppress_tokens": [9]})
    write_json(
        tmp_path / "config.json", {"eos_token_id": 5, "model_max_length": 10**30, "text_config": {"bos_token_id": 6}}
    )
    tokenizer = read(tmp_path)
    assert tokenizer.special.end == (byte_level()[0]["<|endoftext|>"], 7, 8)
    assert (tokenizer.special.beginning, tokenizer.special.suppressed, tokenizer.special.prefix) == (6, (9,), ())
    assert len(tokenizer.encode("a longer text than three tokens")) > 3
    write_json(tmp_path / "tokenizer_config.json", {"eos_token": "<|endoftext|>", "add_bos_token": True})
    assert read(tmp_path).special.prefix == (6,)


NAMED = [{"name": "tool_use", "template": "T"}, {"name": "rag", "template": "R"}]


@pytest.mark.parametrize(
    ("templates", "kept", "note"),
    [
        (NAMED, None, "its chat templates are tool_use, rag, and none is named default, so none is kept; rename one"),
        ([*NAMED, {"name": "default", "template": "D"}], "D", "the one named default is kept; left out: tool_use, rag"),
        ([{"name": "default", "template": "D"}], "D", None),
        ("D", "D", None),
    ],
)
def test_chat_templates_that_are_left_out_are_named(templates, kept, note, tmp_path: Path) -> None:
    write_merges(tmp_path)
    write_json(tmp_path / "tokenizer_config.json", {"eos_token": "<|endoftext|>", "chat_template": templates})
    found = read_tokenizer(tmp_path)
    assert found.chat_template == kept
    assert len(found.notes) == (note is not None) and all(note in each for each in found.notes)


def test_a_decoder_that_is_missing_is_given_or_asked_for(tmp_path: Path) -> None:
    """Each tokenizer.json as a library writes it, without its decoder."""
    (tmp_path / "tokenizer.model").write_bytes(pieces(**MODELS["pairs"]))
    whole = json.loads(read_tokenizer(tmp_path).tokenizer)
    pairs = {**whole, "normalizer": normalizer_of_llama(), "pre_tokenizer": None}
    byte_pairs = json.loads(train_tokenizer([TEXT], "bpe", 500, ["</s>"]).to_json())
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    write_json(tmp_path / "tokenizer_config.json", {"eos_token": "</s>"})
    for content in (byte_pairs, pairs, {**whole, "normalizer": None, "pre_tokenizer": metaspace}):
        write_json(tmp_path / "tokenizer.json", {**content, "decoder": None})
        found = read_tokenizer(tmp_path)
        assert any("has no decoder; it gets the one that undoes" in note for note in found.notes)
        tokenizer = Tokenizer.from_json(found.tokenizer, found.special_tokens)
        for text in ("the keeper", "and  two", "naïve 猫"):
            assert tokenizer.decode(tokenizer.encode(text)) == text
    split = {"type": "Whitespace"}
    words = {"type": "WordLevel", "vocab": {"the": 0, "cat": 1, "</s>": 2}, "unk_token": "</s>"}
    write_json(tmp_path / "tokenizer.json", {**whole, "model": words, "pre_tokenizer": split, "decoder": None}
               | {"normalizer": None, "added_tokens": [], "post_processor": None})  # fmt: skip
    reference = Backend.from_file(str(tmp_path / "tokenizer.json"))
    assert read(tmp_path).decode([0, 1, 0]) == reference.decode([0, 1, 0]) == "the cat the"
    write_json(tmp_path / "tokenizer.json", {**whole, "normalizer": None, "pre_tokenizer": split, "decoder": None})
    with pytest.raises(OpenbookError, match="has no decoder, so its tokens cannot become text; set the decoder"):
        read(tmp_path)


def normalizer_of_llama() -> dict[str, Any]:
    steps = [{"type": "Prepend", "prepend": "▁"}]
    steps += [{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    return {"type": "Sequence", "normalizers": steps}


@given(nasty_text)
def test_streams_end_in_the_whole_text(text: str) -> None:
    content = _small_pairs()
    ids = content.encode(text)
    stream = StreamDecoder(content, beginning=True)
    assert "".join(stream.feed([number]) for number in ids) + stream.flush() == content.decode(ids)
    going_on = StreamDecoder(content)
    assert "".join(going_on.feed([number]) for number in ids) + going_on.flush() in (
        " " + content.decode(ids), content.decode(ids)
    )  # fmt: skip


@cache
def _small_pairs() -> Tokenizer:
    with TemporaryDirectory() as folder:
        Path(folder, "tokenizer.model").write_bytes(pieces(**MODELS["pairs"]))
        return read(Path(folder))
