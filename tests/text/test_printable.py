"""What a terminal obeys is shown, what belongs to a text stays."""

import json

import pytest

from openbook.text.printable import excerpt, json_line, printable, quoted, visible

HOSTILE = {
    "\x1b]0;title\x07": "\\x1b]0;title\\x07",
    "\x9b31m": "\\x9b31m",
    "a\rb\x08": "a\\rb\\x08",
    "\u202eesrever": "\\u202eesrever",
    "\u2066x\u2069": "\\u2066x\\u2069",
    "\ud800": "\\ud800",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_terminal_obeys_is_shown(text):
    assert visible(text) == printable(text) == excerpt(text) == HOSTILE[text]


def test_what_belongs_to_a_text_stays():
    text = "«\xa0Oui\xa0»\n\tمی\u200cخواهم \U0001f469\u200d\U0001f680 \u200fאב 㐀 \u3000."
    assert visible(text) == text
    assert json_line(text) == json.dumps(text, ensure_ascii=False)


def test_a_quoted_token_is_short_and_safe():
    assert quoted(' "a"\x1b') == '" \\"a\\"\\u001b"'
    assert quoted("ab" * 10_000, 4) == '"abab"…'


def test_names_are_shown_in_one_line_without_hidden_characters():
    assert printable("a\nb\u200bc\xa0d") == "a\\nb\\u200bc\\xa0d"
    assert printable("a\nb", keep_lines=True) == "a\nb"


@pytest.mark.parametrize("text", HOSTILE)
def test_json_is_safe_and_the_same(text):
    line = json_line({text: [text, 1.5]})
    assert visible(line) == line
    assert json.loads(line) == {text: [text, 1.5]}
