"""The console of pages: what it is given is shown, its own colours work."""

import io

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from openbook.text.terminal import Terminal

HOSTILE = "\x1b]0;title\x07\x9b31m"
SHOWN = "\\x1b]0;title\\x9b31m"
"""rich leaves the bell out by itself, and cuts a cell that has become wider."""


def table():
    made = Table(HOSTILE)
    made.add_row(Text(HOSTILE))
    return made


@pytest.mark.parametrize("content", [HOSTILE, Text(HOSTILE), table(), Panel(HOSTILE), Tree(HOSTILE)])
def test_control_characters_of_the_content_are_shown(content):
    console = Terminal(file=io.StringIO(), force_terminal=True, width=80, color_system="standard")
    console.print(content, style="bold red", highlight=False)
    written = console.file.getvalue()
    assert SHOWN[:9] in written and "\x1b[1;31m" in written
    assert not {"\x07", "\x9b"} & set(written) and "\x1b]" not in written
