"""Undoes typesetting: hints and joined letters that belong to the printed line, not to the words."""

import re
from collections.abc import Iterable, Iterator

LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
TYPESETTING = re.compile("\u00ad(?:\n(?=\\w))?|[\u2060\ufeff]|[ﬀ-ﬆ]")
"""Soft hyphens (with the line end that one stands at), word joiners, byte order marks, and ligatures."""


def undo_typesetting(chunks: Iterable[str]) -> Iterator[str]:
    """The same text without soft hyphens and invisible marks, with the letters of ligatures."""
    for chunk in chunks:
        yield TYPESETTING.sub(lambda found: LIGATURES.get(found[0], ""), chunk)
