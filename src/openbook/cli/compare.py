"""`openbook compare`: a decoder-only model against an encoder-decoder on the same pairs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openbook.cli.arguments import BLEU_TOKENIZER, DEVICE, JSON
from openbook.text.output import warn, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from openbook.training.loop import Callback


def compare(
    files: Annotated[list[str], typer.Argument(help="sentence pairs: files, folders, globs", metavar="FILES...")],
    pairs: Annotated[bool, typer.Option("--pairs", help="the files are sentence pairs (always)")] = True,
    minutes: Annotated[float | None, typer.Option(help="time for each of the two (default: planned)")] = None,
    steps: Annotated[int | None, typer.Option(help="train each for this many steps, not by time")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="folder for the models, the figures and the picture")
    ] = None,
    validation: Annotated[
        list[str] | None, typer.Option(help="files to validate on, instead of held-out pairs")
    ] = None,
    vocab_size: Annotated[int | None, typer.Option(help="vocabulary size of both (default: planned)")] = None,
    seed: Annotated[int | None, typer.Option(help="random seed (default: 1)")] = None,
    bleu_tokenizer: BLEU_TOKENIZER = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an earlier comparison")] = False,
    as_json: JSON = False,
    device: DEVICE = "auto",
) -> None:
    """Decoder-only or encoder-decoder? Train both on the same pairs for the same time, and measure both.

    The decoder-only model reads source, separator and target as one sequence and learns the target alone. Both have
    about as many parameters. Prints a table; the folder gets both models, comparison.json and a picture.

    [bold]Examples[/bold]

      openbook compare --pairs en-de.tsv --minutes 10        ten minutes each
      openbook compare --pairs train.en train.de --steps 500 --json
    """
    from rich.markup import escape

    from openbook.progress import bars
    from openbook.text.terminal import Terminal
    from openbook.training.comparison.compare import PICTURE
    from openbook.training.comparison.compare import compare as run
    from openbook.training.comparison.display import comparison_table, notes, save_picture, verdict

    console = Terminal(stderr=as_json)
    choices = {"minutes": minutes, "steps": steps, "vocab_size": vocab_size, "seed": seed}
    folder = output or Path(Path(files[0]).name or "pairs").with_suffix(".comparison")
    with _displays(console) as callbacks:
        results = run(
            files,
            folder,
            {name: value for name, value in choices.items() if value is not None},
            validation=validation,
            device=device,
            overwrite=overwrite,
            callbacks=callbacks,
            track=bars,
            bleu_tokenizer=bleu_tokenizer,
        )
    save_picture(results, folder / PICTURE)
    if as_json:
        write((folder / "comparison.json").read_text())
    else:
        console.print()
        console.print(comparison_table(results))
        console.print(f"\n{verdict(results)}", highlight=False)
        for note in notes(results):
            console.print(note, highlight=False)
        console.print(f"Saved both models, the figures and a picture in {escape(str(folder))}", highlight=False)


@contextmanager
def _displays(console: "Console") -> "Iterator[Callable[[str], Sequence[Callback]]]":
    """Gives a function that starts the display of a kind's training; all are closed at the end."""
    from openbook.training.report.display import Display

    displays: list[Display] = []

    def start(kind: str) -> "Sequence[Callback]":
        console.print(f"\n[bold]{kind}[/bold]")
        displays.append(Display(console))
        return displays[-1:]

    try:
        yield start
    except KeyboardInterrupt:
        warn("interrupted; the same command resumes")
        raise
    finally:
        for display in displays:
            display.close()
