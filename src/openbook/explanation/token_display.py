"""Tokens as people can read them: in quotes, partial characters as bytes in hexadecimal, control characters escaped."""

import unicodedata
from typing import Protocol

from rich.cells import cell_len, set_cell_size

from openbook.errors import OpenbookError
from openbook.text.printable import printable
from openbook.text.tokenizer.tokenizer import UNUSED


class Tokenizer(Protocol):
    """What the explanation needs of a tokenizer."""

    def token_bytes(self, token_id: int) -> bytes:
        """Exactly the bytes that a token stands for.

        Raises:
            OpenbookError: there is no such token.
        """
        ...


def display_token(tokenizer: Tokenizer, token_id: int) -> str:
    """`" the"`, `"\\n"` with the escape written out, or `<E2 82>` where the bytes are no whole character."""
    try:
        content = tokenizer.token_bytes(token_id)
    except OpenbookError:
        return UNUSED
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return f"<{content.hex(' ').upper()}>"
    # A combining mark would combine with the quote; it gets the customary circle instead.
    base = "◌" if text and unicodedata.category(text[0]).startswith("M") else ""
    return f'"{base}{printable(text)}"'


def truncate(text: str, cells: int = 18) -> str:
    """A displayed token cut to so many columns of a terminal, where wide characters take two."""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1).rstrip() + "…"
