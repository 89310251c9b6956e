"""Lines of files and pipes: where they end, in which encoding, and which are no text."""

import io

import pytest

from openbook.text.corpus.readers.lines import LONGEST_LINE, InvalidLine, read_file_lines, read_lines

UNREADABLE, TOO_LONG = InvalidLine.UNREADABLE, InvalidLine.TOO_LONG


def test_a_line_ends_at_lf_and_cr_and_nowhere_else():
    text = "one\ntwo\r\nthree\rfour\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1efive\n\nlast"
    lines = ["one", "two", "three", "four\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1efive", "", "last"]
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert list(read_lines(io.BytesIO(text.encode(encoding)))) == lines


def test_lines_that_are_no_text_are_told_apart():
    long = b"x" * (2 * LONGEST_LINE)
    assert list(read_lines(io.BytesIO(b"a\n\xff\n\0\n" + long + b"\nb"))) == [
        "a",
        UNREADABLE,
        UNREADABLE,
        TOO_LONG,
        "b",
    ]
    assert list(read_lines(io.BytesIO(b"\xc3\xa9\n\xe9\n\x81"), "utf-8", "cp1252")) == ["é", "é", UNREADABLE]
    assert list(read_lines(io.BytesIO(b"\xe9"), "latin-1")) == ["é"]


def test_a_pipe_stays_open():
    pipe = io.BytesIO(b"a\nb\n")
    lines = read_lines(pipe)
    assert next(lines) == "a"
    lines.close()
    assert not pipe.closed


@pytest.mark.parametrize(
    ("codec", "guess"), [("utf-8", None), ("utf-8-sig", None), ("utf-16", None), ("cp1252", "sure")]
)
def test_the_encoding_of_a_file_is_found_out(tmp_path, codec, guess):
    text = "Müßiggang ist aller Laster Anfang, heißt es für gewöhnlich.\n" * 3
    (tmp_path / "a.txt").write_bytes(text.encode(codec))
    encoding, lines = read_file_lines(tmp_path / "a.txt")
    assert (encoding.guess, list(lines)) == (guess, text.splitlines())
    given, lines = read_file_lines(tmp_path / "a.txt", "windows-1252" if codec == "cp1252" else "utf-8")
    if codec != "utf-16":
        assert (given.guess, list(lines)) == (None, text.splitlines())
