"""Markdown → plain paragraphs."""

import html
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from openbook.text.corpus.readers.encodings import Encoding, decode_file, detect_encoding
from openbook.text.corpus.readers.html import html_paragraphs, refuse_large_markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

MAXIMUM_BYTES = 8 << 20
"""Markdown is parsed as a whole, which takes about 80 times its size in memory."""

MAXIMUM_BRACKETS = 2000
"""In one block. In a block with more, links stay as they are written: to look for them takes quadratic time."""

FRONT_MATTER = re.compile(
    r"\A(?:---[ \t]*\n(?=[\w.\"'-]+[ \t]*:(?:\s)|[#%])(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|\Z)"  # YAML
    r"|\+\+\+[ \t]*\n(?:.*\n)*?\+\+\+[ \t]*(?:\n|\Z))"  # TOML
)
NOTE = re.compile(r"^\[\^[^\]\s]{1,40}\]:[ \t]+", re.MULTILINE)
NOTE_MARK = re.compile(r"\[\^[^\]\s]{1,40}\]")
TASK = re.compile(r"\A\[[ xX]\] ")


def read_markdown(path: Path, encoding: str | None = None) -> tuple[Encoding, Iterator[str]]:
    """(encoding, paragraphs) of a Markdown file; `encoding` given is taken as it is."""
    refuse_large_markup(path, MAXIMUM_BYTES)
    detected = detect_encoding(path, given=encoding)
    return detected, _read(path, detected.name)


def _read(path: Path, encoding: str) -> Iterator[str]:
    yield from markdown_paragraphs("".join(decode_file(path, encoding)))


def markdown_paragraphs(text: str) -> Iterator[str]:
    """The blocks of Markdown text without markup, each followed by a blank line; headings begin with NUL.

    The rows of a table are lines of one block, whose cells have spaces between them.
    """
    mark = ""
    rows: list[list[str]] = []
    in_table = False
    for token in _parser().parse(NOTE.sub("", FRONT_MATTER.sub("", text))):
        match token.type:
            case "heading_open":
                mark = "\0"
            case "table_open":
                in_table, rows = True, []
            case "tr_open":
                rows.append([])
            case "table_close":
                in_table = False
                yield "\n".join(" ".join(filter(None, row)) for row in rows).strip("\n") + "\n\n"
            case "inline":
                words = _inline_text(token.children or []).strip("\n")
                if in_table:
                    rows[-1].append(" ".join(words.split("\n")))
                elif words.strip():
                    yield f"{mark}{words}\n\n"
                mark = ""
            case "fence" | "code_block":
                yield token.content.rstrip("\n") + "\n\n"
            case "html_block":
                yield from html_paragraphs([token.content])


def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline, image, link

    def bounded(rule: "object") -> "object":
        def apply(state: StateInline, silent: bool) -> bool:
            many = state.env.get("brackets")
            if many is None or many[0] is not state.src:
                many = state.env["brackets"] = (state.src, state.src.count("[") > MAXIMUM_BRACKETS)
            return not many[1] and rule(state, silent)  # type: ignore[operator]

        return apply

    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    parser.inline.ruler.at("link", bounded(link))  # type: ignore[arg-type]
    parser.inline.ruler.at("image", bounded(image))  # type: ignore[arg-type]
    return parser


def _inline_text(tokens: "list[Token]") -> str:
    if any(token.type == "html_inline" for token in tokens):
        return "\n".join(part.strip("\n\0") for part in html_paragraphs(["".join(_as_html(tokens))]))
    parts = []
    for number, token in enumerate(tokens):
        if token.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        else:
            parts.append(_without_marks(token, number == 0))  # for an image, its description
    return "".join(parts)


def _as_html(tokens: "Iterable[Token]") -> Iterator[str]:
    for number, token in enumerate(tokens):
        if token.type == "html_inline":
            yield token.content
        elif token.type in ("softbreak", "hardbreak"):
            yield "<br>"
        else:
            yield html.escape(_without_marks(token, number == 0))


def _without_marks(token: "Token", first: bool) -> str:
    if token.type != "text":
        return token.content
    text = NOTE_MARK.sub("", token.content)
    return TASK.sub("", text) if first else text
