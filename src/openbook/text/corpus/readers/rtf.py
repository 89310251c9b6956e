"""Rich text → plain paragraphs."""

from collections.abc import Iterator
from pathlib import Path

from openbook.text.corpus.readers.html import refuse_large_markup

MAXIMUM_BYTES = 32 << 20
"""Rich text is parsed as a whole."""


def read_rtf(path: Path) -> Iterator[str]:
    """The paragraphs of a rich text file, each followed by a blank line."""
    from striprtf.striprtf import rtf_to_text

    refuse_large_markup(path, MAXIMUM_BYTES)
    text: str = rtf_to_text(path.read_bytes().decode("latin-1"), errors="replace")  # type: ignore[no-untyped-call]
    for line in text.split("\n"):
        if paragraph := line.replace("\0", "").strip():
            yield f"{paragraph}\n\n"
