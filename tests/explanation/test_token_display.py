"""Tokens as people can read them."""

import pytest
from explained import Words
from rich.cells import cell_len

from openbook.explanation.token_display import display_token, truncate
from strategies import VOCABULARY


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (0, '" the"'),
        (1, '"\\x1b[31mred"'),
        (2, '"[bold]"'),
        (3, '"\\n"'),
        (4, '"\\u202eback"'),
        (5, '"◌\u0301"'),
        (6, "<E2 82>"),
        (9, '""'),
        (VOCABULARY - 1, "(unused)"),
    ],
)
def test_tokens_are_readable(token, text):
    assert display_token(Words(), token) == text


def test_wide_characters_are_cut_to_the_cells_they_take():
    assert truncate('"abc"') == '"abc"'
    assert cell_len(truncate(display_token(Words(), 7))) <= 18
