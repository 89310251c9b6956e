"""Strings from files, made safe to show: a terminal obeys control characters, whoever wrote them."""

import os
from pathlib import Path


def printable(text: str, keep_lines: bool = False) -> str:
    """`text` with every control, formatting and unassigned character written as an escape such as `\\x1b`.

    Args:
        text: any string, lone surrogates included.
        keep_lines: keep line breaks and tabs as they are.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if keep_lines else ""
    return "".join(
        character if character.isprintable() or character in kept else character.encode("unicode_escape").decode()
        for character in text
    )


def excerpt(text: str, length: int = 40) -> str:
    """The beginning of `text`, safe to show."""
    return printable(text[:length]) + ("…" if len(text) > length else "")


def printable_path(path: str | Path) -> str:
    """`path` as valid Unicode, even where the bytes of the name are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")
