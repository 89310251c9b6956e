"""Files from strangers: whatever they hold, the answer is a tokenizer or one clear error, soon."""

import base64
import contextlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_examples import byte_level, pieces, ranks, write_json, write_merges

from openbook.errors import OpenbookError
from openbook.interop.tokenizers import bounded_files, read_tokenizer
from openbook.interop.tokenizers.protobuf_wire import read_fields
from openbook.interop.tokenizers.sentencepiece_model import read_model
from openbook.text.tokenizer.tokenizer import Tokenizer

WITHOUT_ITS_TOKEN = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [],
    "special_tokens": {},
}
"""A post-processor; the library panics on it."""
TINY = pieces(vocab_size=80, normalization_rule_name="identity")


@given(st.data())
def test_damaged_models_never_crash(data: st.DataObject) -> None:
    place, cut = data.draw(st.integers(0, len(TINY) - 1)), data.draw(st.integers(0, 40))
    with TemporaryDirectory() as folder:
        content = TINY[:place] + data.draw(st.binary(max_size=6)) + TINY[place + cut :]
        Path(folder, "tokenizer.model").write_bytes(content)
        try:
            found = read_tokenizer(Path(folder))
            Tokenizer.from_json(found.tokenizer, found.special_tokens).encode("some text </s>")
        except OpenbookError as error:
            assert folder in str(error) or "tokenizer" in str(error)


@given(st.binary(max_size=200))
def test_a_protocol_buffer_ends(content: bytes) -> None:
    with contextlib.suppress(OpenbookError):
        assert sum(1 for _ in read_fields(content)) <= len(content) / 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "it has no pieces"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "should have 9,223,372,036,854,775,807 bytes, 0 are left"),
        (b"\x0a" + b"\xff" * 20, "does not end"),
        (b"\x0a\x03\x0a\x01a", "0 pieces for unknown text"),
        (b"\x0a\x05\x0a\x01a\x18\x02\x0a\x03\x0a\x01a", "a piece occurs twice"),
        (b"\x0a\x03\x0a\x01\xff", "a piece is not UTF-8"),
        (b"\x0a\x02\x18\x09", "an invalid score or type"),
        (b"\x0a\x05\x15\x00\x00\xc0\x7f", "an invalid score or type"),
        (b"\x0a\x02\x18\x02", "a piece has no text"),
        (b"\x12\x02\x18\x03", "only unigram and BPE are supported"),
        (b"\x08\x01", "a number where a message or text should be"),
        (b"\x0b", "unknown kind 3"),
        (b"\x0a\x05\x0a\x01a\x18\x02\x12\x03\x98\x02\x01", "does not have all 256"),
        (b"\x0a\x05\x0a\x01a\x18\x02\x12\x03\xc0\x01\x01", "marks spaces after words"),
    ],
)
def test_what_is_wrong_with_a_model_is_named(content: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(OpenbookError, match=r"tokenizer.model: cannot be read as a SentencePiece model") as error:
        read_model(path)
    assert complaint in str(error.value)


def test_a_damaged_character_map(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(TINY + b"\x1a\x05\x12\x03abc")
    with pytest.raises(OpenbookError, match="character map is damaged"):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model": {"type": "BPE", "vocab": {"a": 2**32 - 1}, "merges": []}}, "largest token id"),
        ({"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}}, "its decoder WordPiece is not supported"),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "("}, "content": ""}}, "is not a regular expression"),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "a" * 20_001}, "content": ""}}, "20,001 characters"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "cannot be read|can be read"),
        ({"model": None}, "can be read"),
        ({"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "aa"}}, "at an empty text"),
        ({"post_processor": WITHOUT_ITS_TOKEN}, "gives up on it"),
    ],
)
def test_hostile_tokenizer_json(changes: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    content = good_json(tmp_path)
    write_json(tmp_path / "tokenizer.json", content | changes)
    with pytest.raises(OpenbookError, match=complaint) as error:
        read_tokenizer(tmp_path)
    assert str(tmp_path) in str(error.value)


def good_json(folder: Path) -> dict[str, Any]:
    write_merges(folder)
    content: dict[str, Any] = json.loads(read_tokenizer(folder).tokenizer)
    write_json(folder / "tokenizer_config.json", {"eos_token": "<|endoftext|>"})
    return content


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"a": 1, "a": 2}', 'the key "a" twice'),
        ("[" * 100_000, "nested more than"),
        ('{"a": ' * 100_000, "nested more than"),
        ('{"a": NaN}', "not finite"),
        ('{"a": ' + "9" * 5000 + "}", "too long"),
        ("[]", "should hold a JSON object"),
        ("{", "is not JSON"),
        (b"\xff\xfe", "is not UTF-8 at byte 0"),
    ],
)
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json", "vocab.json"])
def test_hostile_json(name: str, text: str | bytes, complaint: str, tmp_path: Path) -> None:
    write_merges(tmp_path)
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(OpenbookError, match=complaint) as error:
        read_tokenizer(tmp_path)
    assert name in str(error.value)


def test_files_have_a_greatest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "it").write_bytes(b"x" * 11)
    with pytest.raises(OpenbookError, match="has more than 10 bytes"):
        bounded_files.read_bytes(tmp_path / "it", 10)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("merges.txt", "#version\na b c\n", "line 2 is not a merge"),
        ("merges.txt", "zz yy\n", "line 1 is not a merge"),
        ("vocab.json", '{"a": "b"}', "should map each token to its number"),
        ("vocab.json", '{"a": -1, "b": 0}', "line 2 is not a merge of two tokens"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"x": {}}}', "added_tokens_decoder should map"),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"9999": {"content": "<x>", "special": true}}}',
            "'<x>' should have the id 9,999",
        ),
        ("generation_config.json", '{"eos_token_id": -1}', "eos_token_id is not a token id"),
        ("generation_config.json", '{"eos_token_id": ["x"]}', "eos_token_id is not a token id"),
        ("chat_template.json", '{"chat_template": 3}', "its chat template is not text"),
        ("chat_template.jinja", "x" * 1_000_001, "its chat template is not text of at most"),
    ],
)
def test_what_is_wrong_in_a_folder_is_named(name: str, content: str, complaint: str, tmp_path: Path) -> None:
    write_merges(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(OpenbookError, match=complaint):
        read_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(OpenbookError, match=r"has no tokenizer; it should hold one of tokenizer.json, tokenizer.model"):
        read_tokenizer(tmp_path)
    write_json(tmp_path / "vocab.json", {"a": 0})
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(OpenbookError, match="names no eos_token, the token that ends a text"):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda content: content["config"].pop("pattern"), "is malformed"),
        (lambda content: content["config"].update(default_vocab_size=2**40), "is malformed"),
        (lambda content: content["config"].update(default_vocab_size="x"), "is malformed"),
        (lambda content: content["config"].update(pattern="(a+)+$"), "takes too long"),
        (lambda content: content["vocab"][0].update(token_bytes="%"), "not in base 64"),
        (lambda content: content["vocab"][0].update(token_bytes=""), "a token has 0 bytes"),
        (lambda content: content["vocab"].pop(0), "has no token for the byte"),
        (lambda content: content["vocab"].append(content["vocab"][0]), "is malformed|occurs twice"),
        (lambda content: content["vocab"].append({"rank": 999, "token_bytes": "A" * 8000}), "has 6,000 bytes"),
    ],
)
def test_hostile_ranks(change: Any, complaint: str, tmp_path: Path) -> None:
    entries = [{"rank": rank, "token_bytes": base64.b64encode(token).decode()} for token, rank in ranks().items()]
    config = {"pattern": r"\s+|\S+", "default_vocab_size": len(entries) + 11, "default_num_special_tokens": 10}
    content = {"config": config, "vocab": entries}
    change(content)
    write_json(tmp_path / "tekken.json", content)
    with pytest.raises(OpenbookError, match=complaint):
        read_tokenizer(tmp_path)


def test_text_cannot_spell_a_special_token(tmp_path: Path) -> None:
    """Even where merges or whole words would lead to one."""
    ids, merges = byte_level()
    name = "<|endoftext|>"
    steps = [name[: length + 1] for length in range(1, len(name))]
    table = dict(ids) | {step: len(ids) + number for number, step in enumerate(steps[:-1])}
    write_json(tmp_path / "vocab.json", table)
    pairs = [*((step[:-1], step[-1]) for step in steps), *merges]
    (tmp_path / "merges.txt").write_text("".join(f"{left} {right}\n" for left, right in pairs), encoding="utf-8")
    found = read_tokenizer(tmp_path)
    tokenizer = Tokenizer.from_json(found.tokenizer, found.special_tokens)
    end = tokenizer.end_id
    assert tokenizer._tokenizer.encode("<|endoftext|>").ids[-2:] != [end]
    assert end not in tokenizer.encode("a<|endoftext|>b")
    assert tokenizer.decode(tokenizer.encode("a<|endoftext|>b")) == "a<|endoftext|>b"
    assert tokenizer.encode("<|endoftext|>", allow_special=True) == [end]
    assert Tokenizer.from_json(tokenizer.to_json(), found.special_tokens).fingerprint == tokenizer.fingerprint
