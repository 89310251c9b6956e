"""Tokens as people can read them: in quotes, bytes of half a character in hexadecimal, nothing a terminal obeys."""

import unicodedata
from typing import Protocol

from rich.cells import cell_len, set_cell_size

from openbook.errors import OpenbookError
from openbook.text.printable import printable


class Tokenizer(Protocol):
    """What the explanation asks of a tokenizer."""

    def token_bytes(self, token_id: int) -> bytes:
        """Exactly the bytes that a token stands for; OpenbookError for an id that it does not have."""
        ...


def readable(tokenizer: Tokenizer, token: int) -> str:
    """`" the"`, `"\\n"` with the escape written out, or `<E2 82>` where the bytes are no whole character."""
    try:
        content = tokenizer.token_bytes(token)
    except OpenbookError:
        return "(unused)"  # models round their vocabulary up, so some ids stand for nothing
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return f"<{content.hex(' ').upper()}>"
    # A combining mark would climb onto the quote; it gets the customary circle to stand on.
    stand = "◌" if text and unicodedata.category(text[0]).startswith("M") else ""
    return f'"{stand}{printable(text)}"'


def short(text: str, cells: int = 18) -> str:
    """A readable token cut to so many columns of a terminal, where wide characters take two."""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1).rstrip() + "…"
