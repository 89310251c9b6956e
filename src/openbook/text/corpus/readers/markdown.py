"""Markdown → plain paragraphs."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from openbook.text.corpus.readers.encodings import decode_file, detect_encoding
from openbook.text.corpus.readers.html import html_paragraphs, refuse_large_markup

if TYPE_CHECKING:
    from markdown_it.token import Token

MAXIMUM_BYTES = 8 << 20
"""Markdown is parsed as a whole, which takes about 80 times its size in memory."""

FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def read_markdown(path: Path) -> tuple[str, Iterator[str]]:
    """(encoding, paragraphs) of a Markdown file."""
    refuse_large_markup(path, MAXIMUM_BYTES)
    encoding = detect_encoding(path)
    return encoding, markdown_paragraphs("".join(decode_file(path, encoding)))


def markdown_paragraphs(text: str) -> Iterator[str]:
    """The blocks of Markdown text without markup, each followed by a blank line; headings begin with NUL."""
    from markdown_it import MarkdownIt

    mark = ""
    for token in MarkdownIt("commonmark").parse(FRONT_MATTER.sub("", text)):
        if token.type == "heading_open":
            mark = "\0"
        elif token.type == "inline":
            if words := _inline_text(token.children or []).strip("\n"):
                yield f"{mark}{words}\n\n"
            mark = ""
        elif token.type in ("fence", "code_block"):
            yield token.content.rstrip("\n") + "\n\n"
        elif token.type == "html_block":
            yield from html_paragraphs([token.content])


def _inline_text(tokens: "Iterable[Token]") -> str:
    parts = []
    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif token.type != "html_inline":
            parts.append(token.content)  # for an image, its description
    return "".join(parts)
