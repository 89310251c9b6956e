"""LibreTranslate: which translator a pair of languages gets, forms and JSON, and texts of several lines."""

import pytest
from fastapi.exceptions import RequestValidationError

from openbook.web.api.libretranslate import (
    TranslateBody,
    TranslatorLanguages,
    _answer,
    _parsed,
    _texts,
    choose,
)
from openbook.web.serve.errors import ApiError

PAIR = TranslatorLanguages("en-de", ("en",), ("de",), told=False)
MANY = TranslatorLanguages("many", ("de", "en", "fr"), ("de", "en", "fr"), told=True)
PLAIN = TranslatorLanguages("mine", ("source",), ("target",), told=False)


def asked(source, target, **fields):
    return TranslateBody(q="x", source=source, target=target, **fields)


@pytest.mark.parametrize(
    ("known", "body", "model"),
    [
        ([PAIR, MANY], asked("en", "de"), "en-de"),
        ([PAIR, MANY], asked("en", "fr"), "many"),
        ([PAIR, MANY], asked("en", "de", model="many"), "many"),
        ([PAIR], asked("auto", "de"), "en-de"),
        ([PLAIN], asked("source", "target"), "mine"),
    ],
)
def test_the_first_translator_that_fits_is_taken(known, body, model):
    assert choose(known, body).model == model


@pytest.mark.parametrize(
    ("known", "body", "said"),
    [
        ([], asked("en", "de"), "no translator"),
        ([PAIR], asked("de", "en"), "en → de"),
        ([PAIR], asked("en", "de", model="other"), "other"),
        ([MANY], asked("en", "en"), "not served"),
        ([MANY], asked("auto", "de"), "auto"),
        ([PAIR, PLAIN], asked("auto", "xx"), "not served"),
    ],
)
def test_what_is_not_served_is_told(known, body, said):
    with pytest.raises(ApiError, match=said) as caught:
        choose(known, body)
    assert caught.value.status == 400


def test_forms_and_json_say_the_same():
    form = b"q=A+man%0Asleeps.&source=en&target=de&alternatives=2&api_key=k"
    json_ = b'{"q": "A man\\nsleeps.", "source": "en", "target": "de", "alternatives": 2, "api_key": "k"}'
    found = _parsed(form, "application/x-www-form-urlencoded; charset=utf-8")
    assert found == _parsed(json_, "application/json") == _parsed(json_, "application/x-www-form-urlencoded")
    assert (found.q, found.alternatives) == ("A man\nsleeps.", 2)
    several = _parsed(b"q=a&q=b&source=en&target=de", "application/x-www-form-urlencoded")
    assert several.q == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "kind", "error"),
    [
        (b"", "", ApiError),
        (b"{", "application/json", ApiError),
        (b"\xff=1", "application/x-www-form-urlencoded", ApiError),
        (b"[]", "application/json", RequestValidationError),
        (b'{"q": "x"}', "application/json", RequestValidationError),
        (b"q=x&source=en&target=de&format=html", "application/x-www-form-urlencoded", RequestValidationError),
        (b"q=x&source=en&target=de&alternatives=-1", "application/x-www-form-urlencoded", RequestValidationError),
        (b"q=x&source=en&target=de&nonsense=1", "application/x-www-form-urlencoded", RequestValidationError),
    ],
)
def test_what_is_neither_is_refused(content, kind, error):
    with pytest.raises(error):
        _parsed(content, kind)


def test_lines_stay_lines_and_empty_ones_stay_empty():
    translated = [["A", "a"], ["B", "b"], ["C"]]
    assert list(_texts(["one\n\ntwo", "  ", "three"], translated)) == [["A\n\nB", "a\n\nb"], ["  "], ["C"]]


def test_answers_for_one_text_and_for_several():
    texts = [["A", "a", "A", "b", "a"], ["B"]]
    one = TranslateBody(q="x", source="auto", target="de", alternatives=4)
    several = TranslateBody(q=["x", "y"], source="en", target="de")
    assert _answer(one, PAIR, texts[:1]) == {
        "translatedText": "A",
        "alternatives": ["a", "b"],
        "detectedLanguage": {"language": "en", "confidence": 0.0},
    }
    assert _answer(several, PAIR, texts) == {"translatedText": ["A", "B"]}
