"""LibreTranslate's own client, and forms and JSON as others send them, against a live server."""

import urllib.error
import urllib.parse

import libretranslatepy
import pytest


@pytest.fixture(scope="module")
def client(live):
    return libretranslatepy.LibreTranslateAPI(live.url)


def ask(live, **fields):
    return live.ask("/translate", {"source": "source", "target": "target"} | fields)


def test_their_client(client):
    assert client.languages() == [
        {"code": "source", "name": "Source", "targets": ["target"]},
        {"code": "target", "name": "Target", "targets": []},
    ]
    assert isinstance(client.translate("a b c", "source", "target"), str)


def test_forms_and_json_give_the_same(live, client):
    text = client.translate("a b c", "source", "target")
    assert ask(live, q="a b c")[2] == {"translatedText": text}
    form = urllib.parse.urlencode({"q": "a b c", "source": "source", "target": "target"}).encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert live.ask("/translate", form, headers=headers)[2] == {"translatedText": text}


def test_lists_lines_and_alternatives(live):
    one, other = (ask(live, q=text)[2]["translatedText"] for text in ("a b", "c a"))
    assert ask(live, q=["a b", "c a"])[2] == {"translatedText": [one, other]}
    assert ask(live, q="a b\n\nc a")[2]["translatedText"] == f"{one}\n\n{other}"
    found = ask(live, q=["a b", ""], alternatives=2, source="auto")[2]
    assert found["translatedText"][1] == "" and found["alternatives"][1] == []
    assert len(found["alternatives"][0]) <= 2 and found["detectedLanguage"][0] == {
        "language": "source",
        "confidence": 0.0,
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"q": ""}, "q"),
        ({"q": "a", "target": "fr"}, "fr"),
        ({"q": "a", "format": "html"}, "format"),
        ({"q": "a", "alternatives": 99}, "alternatives"),
        ({"q": "a", "nonsense": 1}, "nonsense"),
        ({"q": "a", "model": "chat"}, "chat"),
        ({}, "q"),
    ],
)
def test_mistakes_are_told_in_their_shape(live, fields, said):
    status, _, body = ask(live, **fields)
    assert status == 400 and said in body["error"]


def test_the_key_is_in_the_body(keyed):
    known = libretranslatepy.LibreTranslateAPI(keyed.url, api_key="secret")
    with pytest.raises(urllib.error.HTTPError) as caught:
        libretranslatepy.LibreTranslateAPI(keyed.url, api_key="wrong").translate("a", "source", "target")
    assert caught.value.code == 401
    with pytest.raises(urllib.error.HTTPError) as caught:  # the key is right; no translator is served there
        known.translate("a", "source", "target")
    assert caught.value.code == 400
