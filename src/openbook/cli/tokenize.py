"""`openbook tokenize`: the tokens of a text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbook.cli.arguments import ENCODING, JSON, MODEL
from openbook.text.formatting import format_count
from openbook.text.output import write
from openbook.text.printable import json_line

if TYPE_CHECKING:
    from openbook.text.tokenizer.tokenizer import Tokenizer


def tokenize(
    model: MODEL,
    texts: Annotated[
        list[str] | None, typer.Argument(help="texts; if absent, lines of standard input", show_default=False)
    ] = None,
    file: Annotated[Path | None, typer.Option(help="a file with a text on each line; - is standard input")] = None,
    source: Annotated[bool, typer.Option("--source", help="with the tokenizer of a translator's sources")] = False,
    as_json: JSON = False,
    encoding: ENCODING = None,
) -> None:
    """Show the tokens of a text: the id of each, its text, its bytes, and which characters of the text it stands for.

    No special tokens are added, and their names in a text are text.

    [bold]Examples[/bold]

      openbook tokenize austen.openbook "It is a truth"
      openbook tokenize austen.openbook "It is a truth" --json | jq '.tokens[].id'
      openbook tokenize en-de.openbook --file lines.txt --source --json
    """
    from openbook.cli.console import read_prompts
    from openbook.model import load

    opened = load(model, "cpu")
    tokenizer = opened.metadata.make_source_tokenizer() if source else opened.tokenizer
    for number, text in enumerate(read_prompts(texts, file, encoding)):
        facts = token_facts(tokenizer, text)
        if as_json:
            write(json_line(facts))
        else:
            write("\n" * (number > 0) + "\n".join(token_lines(facts)))


def token_facts(tokenizer: "Tokenizer", text: str) -> dict[str, Any]:
    """The tokens of a text and their counts. Tokens that share a character have the same start and end."""
    spans = tokenizer.encode_with_spans(text)
    tokens = [
        {
            "id": token_id,
            "text": tokenizer.token_text(token_id),
            "bytes": list(tokenizer.token_bytes(token_id)),
            "start": start,
            "end": end,
        }
        for token_id, (start, end) in spans
    ]
    counts = {"tokens": len(spans), "characters": len(text), "bytes": len(text.encode())}
    unknown = sum(token_id == tokenizer.unknown_id for token_id, _ in spans)
    return {"text": text, "tokens": tokens, "counts": counts | {"unknown": unknown}}


def token_lines(facts: dict[str, Any]) -> list[str]:
    """A line for each token, and one with the counts."""
    rows = [("index", "id", "characters", "token", "bytes")]
    for index, token in enumerate(facts["tokens"]):
        span, spelled = f"{token['start']}-{token['end']}", json_line(token["text"])
        rows.append((str(index), str(token["id"]), span, spelled, bytes(token["bytes"]).hex(" ")))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if place < 3 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    counts = facts["counts"]
    said = [format_count(counts[name], name[:-1]) for name in ("tokens", "characters", "bytes")]
    if counts["tokens"]:
        said.append(f"{counts['bytes'] / counts['tokens']:.2f} bytes per token")
    if counts["unknown"]:
        said.append(f"{counts['unknown']:,} unknown")
    return [*lines, ", ".join(said)]
