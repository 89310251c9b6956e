"""Characters are cleaned alike for training and asking."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.text.characters import clean_chunks, clean_line, clean_text
from soon import soon


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("  The old keeper  ", "The old keeper"),
        ("\ufeffThe\told\xa0keeper\n", "The old keeper"),
        ("The old\u2028keeper\x85counted\x0bthe\x0cboats", "The old keeper counted the boats"),
        ("a\r\nb\rc", "a b c"),
        ("soft\u00adhyphen, \ufb01ne, a\u2060b", "softhyphen, fine, ab"),
        ("cafe\u0301 \u1112\u1161\u11ab か\u3099", "café 한 が"),
        ("and/\u200bor, Zero\u200bwidth", "and/or, Zerowidth"),
        ("\u1781\u17d2\u1798\u17c2\u179a\u200b\u1793", "\u1781\u17d2\u1798\u17c2\u179a\u200b\u1793"),
        ("\u3000日本\u3000語", "日本 語"),
        ("a\0b", "a\ufffdb"),
        ("\xa0 \u2028", ""),
    ],
)
def test_a_line_has_one_blank_for_each_run_of_white_space(text, line):
    assert clean_line(text) == line


def test_a_text_keeps_its_lines():
    assert clean_text("\ufeff A\r\n\r\n  b\u2028c\rd \n") == "A\n\n  b\u2028c\nd"


def test_endless_marks_on_a_letter_take_linear_time():
    endless = "a" + "\u0301\u0316" * 200_000
    with soon():
        assert clean_text(endless) == endless
    assert clean_text("a" + "\u0301\u0316" * 10) == unicodedata.normalize("NFC", "a" + "\u0301\u0316" * 10)


@given(st.text())
def test_cleaning_twice_changes_nothing_and_books_are_cleaned_alike(text):
    assert clean_line(clean_line(text)) == clean_line(text)
    assert clean_text(clean_text(text)) == clean_text(text)
    assert "".join(clean_chunks([clean_text(text)])) == clean_text(text)
