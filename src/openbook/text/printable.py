"""Strings from files, made safe to show: a terminal obeys control characters, whoever wrote them."""

import json
import os
import re
from pathlib import Path
from typing import Any

UNSAFE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff]")
"""What no text needs and a terminal may obey: control characters but line feed and tab, what reverses the order of
letters, half surrogate pairs. No-break spaces, joiners and the marks of Hebrew and Arabic are text."""

_SURROGATE = re.compile("[\ud800-\udfff]")


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


def visible(text: str) -> str:
    """Running text, such as an answer, with what a terminal may obey written as an escape such as `\\x1b`."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def json_line(value: Any) -> str:
    """`value` as JSON in one line, readable in every script, with what a terminal may obey as `\\u001b`."""
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def excerpt(text: str, length: int = 40) -> str:
    """The beginning of `text`, safe to show."""
    return printable(text[:length]) + ("…" if len(text) > length else "")


def quoted(text: str, length: int = 60) -> str:
    """The beginning of a token in quotes, so that its spaces are seen, safe to show."""
    return json_line(text[:length]) + ("…" if len(text) > length else "")


def printable_path(path: str | Path) -> str:
    """`path` as valid Unicode, even where the bytes of the name are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def well_formed(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which no UTF-8 can hold; as browsers write it."""
    return _SURROGATE.sub("\ufffd", text)
