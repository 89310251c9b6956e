"""Plain printing: a terminal sees control characters, a pipe gets the text as it is, errors are always safe."""

import sys

import pytest

from openbook.text.output import warn, write

HOSTILE = "\x1b]0;title\x07 a\xa0b\n"


@pytest.mark.parametrize(("terminal", "expected"), [(True, "\\x1b]0;title\\x07 a\xa0b\n"), (False, HOSTILE)])
def test_a_terminal_sees_what_a_pipe_gets(monkeypatch, capsys, terminal, expected):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    write(HOSTILE, end="")
    assert capsys.readouterr().out == expected


def test_a_warning_is_one_safe_line(capsys):
    warn(f"{HOSTILE}: is missing")
    assert capsys.readouterr().err == "openbook: \\x1b]0;title\\x07 a\\xa0b\\n: is missing\n"
