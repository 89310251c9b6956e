"""`openbook prepare`: much text in, shards of tokens out, for `openbook train --tokens`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openbook.cli.arguments import ENCODING
from openbook.text.formatting import format_bytes, format_count
from openbook.text.output import warn, write

if TYPE_CHECKING:
    from openbook.training.data.prepared_tokens import PreparedTokens


def prepare(
    files: Annotated[
        list[str],
        typer.Argument(help="books (txt, md, html, epub, pdf); files, folders, globs", metavar="FILES..."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to make", show_default=False)],
    processes: Annotated[
        int | None, typer.Option(help="how many to use (default: one per core)", min=1, show_default=False)
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="bpe, unigram, bytes, characters or words (default: bpe)", show_default=False)
    ] = None,
    vocab_size: Annotated[
        int | None, typer.Option(help="vocabulary size (default: by the amount of text)", show_default=False)
    ] = None,
    base_model: Annotated[
        Path | None, typer.Option("--from", help="a model file whose tokenizer is taken", show_default=False)
    ] = None,
    validation: Annotated[
        list[str] | None, typer.Option(help="files to validate on, instead of a held-out part")
    ] = None,
    validation_fraction: Annotated[
        float | None, typer.Option(help="fraction of each book to hold out; 0: none (default: by the amount of text)")
    ] = None,
    keep_duplicates: Annotated[bool, typer.Option("--keep-duplicates", help="keep duplicate passages")] = False,
    encoding: ENCODING = None,
) -> None:
    """Clean, deduplicate and encode much text once, by several processes, for any number of runs.

    The folder gets shards of tokens, their index with sizes and checksums, the tokenizer, and a report of what was
    removed, guessed and left out. It is the same whatever the number of processes. The disk needs room for four times
    the text until all is done.

    [bold]Examples[/bold]

      openbook prepare corpus/ -o tokens --processes 8
      openbook train --tokens tokens -o large.openbook
      openbook prepare notes/ -o tokens --from large.openbook    the same tokenizer, to fine-tune

    Interrupted, the same command goes on.
    """
    from openbook.errors import SettingError
    from openbook.progress import bars
    from openbook.text.tokenizer.training import TRAINERS
    from openbook.training.data.prepared_tokens import prepare_tokens

    if base_model is not None and (tokenizer is not None or vocab_size is not None):
        raise SettingError("`base_model`: brings its tokenizer; leave out `tokenizer` and `vocab_size`")
    kind = next((each for each in TRAINERS if each == tokenizer), None)
    if tokenizer is not None and kind is None:
        raise SettingError(f"`tokenizer` {tokenizer}: must be one of {', '.join(TRAINERS)}")
    base = None
    if base_model is not None:
        from openbook.model_file.adapter import load_merged

        base = load_merged(base_model)[0]
    try:
        prepared = prepare_tokens(
            files,
            output,
            tokenizer=kind or "bpe",
            vocab_size=vocab_size,
            base=base,
            processes=processes,
            track=bars,
            validation=validation,
            validation_fraction=validation_fraction,
            keep_duplicates=keep_duplicates,
            encoding=encoding,
        )
    except KeyboardInterrupt:
        warn("interrupted; the same command goes on")
        raise
    for line in summary(prepared):
        write(line)


def summary(prepared: "PreparedTokens") -> list[str]:
    """What preparation found, as lines."""
    books, folder = prepared.books, prepared.folder
    tokens = len(books.train.ids)
    lines = [
        *prepared.report().lines(),
        f"Wrote {format_count(tokens, 'token')} of {format_bytes(books.train.text_bytes)} to learn from, "
        f"{books.train.text_bytes / max(1, tokens):.2f} bytes each, and "
        f"{format_count(len(books.validation.ids), 'token')} to validate with.",
    ]
    if books.train.unknown.bytes:
        lines.append(f"The vocabulary lacks {format_bytes(books.train.unknown.bytes)} of the text.")
    return [*lines, f"Train on them with: openbook train --tokens {folder}"]
