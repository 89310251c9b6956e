"""`openbook compare`: a decoder-only model against an encoder-decoder on the same pairs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openbook.cli.arguments import DEVICE, JSON

if TYPE_CHECKING:
    from openbook.training.loop import Callback


def compare(
    files: Annotated[list[str], typer.Argument(help="files of sentence pairs; folders, globs", metavar="FILES...")],
    pairs: Annotated[bool, typer.Option("--pairs", help="the files are sentence pairs (which they must be)")] = True,
    minutes: Annotated[float | None, typer.Option(help="for each of the two; picked from the pairs if absent")] = None,
    steps: Annotated[int | None, typer.Option(help="end each after this many updates, not by time")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="the folder for models, table, picture")] = None,
    validation: Annotated[list[str] | None, typer.Option(help="hold out these files, not some of the pairs")] = None,
    vocab_size: Annotated[int | None, typer.Option(help="how many different tokens, for both")] = None,
    seed: Annotated[int | None, typer.Option(help="same seed, same runs")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an earlier comparison")] = False,
    as_json: JSON = False,
    device: DEVICE = "auto",
) -> None:
    """Decoder-only or encoder-decoder? Train both on the same pairs, tokens and minutes, and measure them.

    The decoder-only model reads `source <separator> target` as one row and learns the target alone. Both have about as
    many parameters. Prints a table; the folder gets both models, comparison.json and a picture.

    [bold]Examples[/bold]

      openbook compare --pairs en-de.tsv --minutes 10        ten minutes each
      openbook compare --pairs train.en train.de --steps 500 --json
    """
    from rich.console import Console

    from openbook.progress import bars
    from openbook.training.comparison.compare import compare as run
    from openbook.training.comparison.display import comparison_table, save_picture, verdict
    from openbook.training.report.display import Display

    console = Console(stderr=as_json)
    choices = {"minutes": minutes, "steps": steps, "vocab_size": vocab_size, "seed": seed}
    folder = output or Path(Path(files[0]).name or "pairs").with_suffix(".comparison")
    displays: list[Display] = []

    def callbacks(kind: str) -> "Sequence[Callback]":
        console.print(f"\n[bold]{kind}[/bold]")
        displays.append(Display(console))
        return displays[-1:]

    try:
        results = run(
            files,
            folder,
            {name: value for name, value in choices.items() if value is not None},
            validation=validation,
            device=device,
            overwrite=overwrite,
            callbacks=callbacks,
            track=bars,
        )
    except KeyboardInterrupt:
        print("\nopenbook: interrupted; the same command goes on from what is kept", file=sys.stderr)
        raise
    finally:
        for display in displays:
            display.close()
    save_picture(results, folder / "comparison.png")
    if as_json:
        print((folder / "comparison.json").read_text())
    else:
        console.print()
        console.print(comparison_table(results))
        console.print(f"\n{verdict(results)}", highlight=False)
        console.print(f"Saved both models, the numbers and a picture in {folder}", highlight=False)
