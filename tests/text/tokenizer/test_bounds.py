"""What a stranger's tokenizer.json may ask for, whichever door it comes through."""

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.errors import OpenbookError
from openbook.interop.gguf.pre_tokenizers import PRE_TOKENIZERS
from openbook.interop.tokenizers.split_patterns import TIKTOKEN_ENCODINGS
from openbook.text.tokenizer.bounds import check_parts, read_parts
from openbook.text.tokenizer.pattern_check import check_pattern
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import BPE_PATTERN, WORD_PATTERN, train_tokenizer
from soon import soon

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
CONTENT: dict[str, Any] = json.loads(train_tokenizer(["what can you do"], "bytes").to_json())


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(*steps: dict[str, Any], of: str = "normalizers") -> dict[str, Any]:
    return {"type": "Sequence", of: list(steps)}


def precompiled(replacement: str) -> dict[str, Any]:
    """A character map with an empty trie and one replacement."""
    table = (0).to_bytes(4, "little") + replacement.encode() + b"\0"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


def template(times: int) -> dict[str, Any]:
    """A post-processor that says a text so many times."""
    return {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}] * times,
        "pair": [],
        "special_tokens": {},
    }


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|a)*$", r"(x+x+)+y", r"(\s*\s*)*\S$", r"(?:é?é?)*z"])
def test_patterns_that_run_away_are_refused(pattern: str) -> None:
    with pytest.raises(OpenbookError, match="takes too long on"), soon():
        check_pattern(pattern)


def test_patterns_in_use_are_accepted() -> None:
    published = [pattern for pattern, _ in TIKTOKEN_ENCODINGS.values()]
    known = [pattern for each in PRE_TOKENIZERS.values() for pattern in each.patterns]
    for pattern in [*published, *known, BPE_PATTERN, WORD_PATTERN]:
        check_pattern(pattern)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}}}, "takes too long on"),
        ({"normalizer": replace({"Regex": "(a+)+$"}, "")}, "takes too long on"),
        ({"decoder": sequence(replace({"Regex": "(a+)+$"}, ""), of="decoders")}, "takes too long on"),
        ({"normalizer": replace({"Regex": "a" * 20_001}, "")}, "20,001 characters"),
        ({"normalizer": replace({"String": "a"}, "a" * 10_001)}, "10,000 times as long"),
        ({"normalizer": sequence(*[replace({"String": "a"}, "aa")] * 14)}, "10,000 times as long"),
        ({"normalizer": sequence(*[replace({"Regex": "x*"}, "a")] * 14)}, "10,000 times as long"),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 10_000}}, "10,000 times as long"),
        ({"normalizer": precompiled("a" * 10_001)}, "10,000 times as long"),
        ({"normalizer": sequence(*[{"type": "ByteLevel"}] * 14)}, "10,000 times as long"),
        ({"normalizer": sequence(*[{"type": "NFKC"}] * 4)}, "10,000 times as long"),
        ({"pre_tokenizer": sequence(*[BYTE_LEVEL] * 14, of="pretokenizers")}, "10,000 times as long"),
        ({"pre_tokenizer": sequence(*[{"type": "Whitespace"}] * 256, of="pretokenizers")}, "it has 258 steps"),
        ({"pre_tokenizer": [{"Regex": "(a+)+$"}, "Isolated", False]}, "has no type"),
        ({"pre_tokenizer": sequence({"pattern": {"Regex": "(a+)+$"}}, of="pretokenizers")}, "has no type"),
        ({"decoder": {"type": "Strip", "content": " ", "start": 10**12, "stop": 0}}, "strips more than 100"),
        ({"post_processor": template(10_001)}, "10,000 times as long"),
        ({"post_processor": sequence(*[template(2)] * 14, of="processors")}, "10,000 times as long"),
        ({"added_tokens": [{"id": 0, "content": "x" * 2_000_001}]}, "more than 2,000,000 characters"),
        ({"model": CONTENT["model"] | {"end_of_word_suffix": "x" * 101}}, "end_of_word_suffix has more than 100"),
        ({"model": CONTENT["model"] | {"continuing_subword_prefix": "x" * 101}}, "continuing_subword_prefix has more"),
    ],
)
def test_what_asks_for_too_much_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(OpenbookError, match=f"tokenizer: .*{complaint}.*; do not use this file"), soon():
        Tokenizer.from_json(json.dumps(CONTENT | changes))


def test_endless_words_of_word_piece_are_refused() -> None:
    model = {
        "type": "WordPiece", "vocab": {"a": 0, "<|end|>": 1}, "unk_token": "a",
        "continuing_subword_prefix": "##", "max_input_chars_per_word": 10**9,
    }  # fmt: skip
    with pytest.raises(OpenbookError, match="max_input_chars_per_word is more than 1,000"):
        Tokenizer.from_json(json.dumps(CONTENT | {"model": model, "added_tokens": []}))


def test_usual_normalizers_are_accepted() -> None:
    quotes = [replace({"String": "``"}, '"'), replace({"String": "''"}, '"')]
    albert = [
        *quotes,
        {"type": "NFKD"},
        {"type": "StripAccents"},
        {"type": "Lowercase"},
        precompiled("صلى الله عليه وسلم"),
    ]
    check_parts({"normalizer": sequence(*albert, replace({"Regex": " {2,}"}, "▁"))})
    check_parts({"normalizer": {"type": "BertNormalizer", "lowercase": True}, "decoder": None})


NAMES = ["added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model", "version"]
TEXTS = st.sampled_from(["model", "decoder", "\\u", "\\", "\x01", '"', '"model": {}', "a", "é"])
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", *NAMES]) | TEXTS, inner, max_size=3)
    ),
)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), VALUES), unique_by=lambda pair: pair[0]), st.booleans(), st.booleans()
)
def test_parts_are_those_of_the_whole_file(pairs: list[tuple[str, Any]], ascii_only: bool, indented: bool) -> None:
    """Wherever the model stands, and whatever is in it."""
    content = dict(pairs)
    found = read_parts(json.dumps(content, ensure_ascii=ascii_only, indent=1 if indented else None))
    for name in set(NAMES) - {"model", "version"}:
        if isinstance(content.get(name), dict | list):  # a word of the vocabulary may be called so, and has a number
            assert found[name] == content[name]


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_whatever_the_parts_are_the_answer_is_one_error_or_none(parts: dict[str, Any]) -> None:
    with contextlib.suppress(OpenbookError):
        check_parts(parts)


@pytest.mark.parametrize(
    "content",
    [
        '{"a": 1, "model": {}, "added_tokens": [{"content": "x"}]}',
        '{"a": 1, "model": {}, "added\\u005ftokens": [{"content": "x"}]}',
        '{"a": 1, "model": {}, "added_tokens"\n :\n [{"content": "x"}]}',
        '{"a": {"b": 1, "model": 2}, "added_tokens": [{"content": "x"}]}',
        '{"added_tokens": [{"content": "x"}], "model": {"vocab": {"added_tokens": 3, "\\\\u": 4}}}',
    ],
)
def test_added_tokens_cannot_hide(content: str) -> None:
    assert read_parts(content)["added_tokens"] == [{"content": "x"}]


def test_a_part_cannot_be_there_twice() -> None:
    with pytest.raises(OpenbookError, match="twice"):
        read_parts('{"added_tokens": [], "model": {}, "added_tokens": [1]}')
