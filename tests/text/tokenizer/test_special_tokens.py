import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.errors import OpenbookError
from openbook.text.tokenizer.special_tokens import END, PADDING, SEPARATOR, SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import train_tokenizer

ids = st.integers(0, 300)
several = st.lists(ids, max_size=3).map(tuple)
special_tokens = st.builds(
    SpecialTokens,
    end=st.lists(ids, min_size=1, max_size=3).map(tuple),
    padding=st.none() | ids,
    beginning=st.none() | ids,
    unknown=st.none() | ids,
    separator=st.none() | ids,
    prefix=several,
    suffix=several,
    decoder_start=st.none() | ids,
    forced_beginning=several,
    forced_end=st.none() | ids,
    suppressed=several,
    languages=st.dictionaries(st.text(min_size=1, max_size=5), ids, max_size=3),
    language_position=st.sampled_from(["before", "after"]),
)


@given(special_tokens)
def test_they_survive_json(special: SpecialTokens) -> None:
    again = SpecialTokens.from_dict(json.loads(json.dumps(special.to_dict())))
    assert again == special
    assert hash(again) == hash(special)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "end: is empty"),
        ({"end": [-1]}, r"end: \(-1,\) is not a list of token ids"),
        ({"end": [True]}, "end"),
        ({"end": 3}, "end: 3 is not a list"),
        ({"end": [1], "padding": "<pad>"}, "padding: '<pad>' is not a token id"),
        ({"end": [1], "padding": 2**40}, "padding"),
        ({"end": [1], "prefix": [1.5]}, "prefix"),
        ({"end": [1], "prefix": [1] * 1001}, "prefix"),
        ({"end": [1], "languages": [1]}, "languages"),
        ({"end": [1], "languages": {"de": "x"}}, "languages: 'de' is 'x'"),
        ({"end": [1], "language_position": "middle"}, "language_position"),
        ({"end": [1], "colour": 1}, "unknown field colour"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(OpenbookError, match=f"special tokens.*{complaint}"):
        SpecialTokens.from_dict(values)


def test_our_own_are_found_by_their_names() -> None:
    tokenizer = train_tokenizer(["a text"], "bytes", 259, (END, PADDING, SEPARATOR))
    assert tokenizer.special == SpecialTokens(end=(256,), padding=257, separator=258)
    assert Tokenizer.from_json(tokenizer.to_json()).special == tokenizer.special


def with_special(**values: Any) -> Tokenizer:
    content = train_tokenizer(["a text"], "bytes", 260, (END, PADDING, "<begin>", "<de>")).to_json()
    return Tokenizer.from_json(content, SpecialTokens(end=(256,), beginning=258, languages={"de": 259}, **values))


def test_a_prompt_begins_once() -> None:
    tokenizer = with_special(prefix=(258,))
    assert tokenizer.encode_prompt("a") == [258, 97]
    assert tokenizer.encode_prompt("<begin>a", allow_special=True) == [258, 97]
    assert tokenizer.encode_prompt("<begin>a")[:2] == [258, ord("<")]
    assert tokenizer.encode_prompt("") == [258]
    assert with_special().encode_prompt("") == []
    assert with_special().encode_prompt("a") == [97]


def test_a_source_has_its_tokens_around_it() -> None:
    assert with_special(suffix=(256,)).encode_source("a") == [97, 256]
    assert with_special(suffix=(256,)).encode_source("a", "de") == [259, 97, 256]
    assert with_special(suffix=(256,), language_position="after").encode_source("a", "de") == [97, 256, 259]
    with pytest.raises(OpenbookError, match="language 'fr': this model does not have it; it has de"):
        with_special().encode_source("a", "fr")


@given(special_tokens)
def test_the_largest_is_at_least_each(special: SpecialTokens) -> None:
    flat = [value for each in special.to_dict().values() for value in (each if isinstance(each, list) else [each])]
    assert special.largest_id >= max(value for value in flat if isinstance(value, int))
