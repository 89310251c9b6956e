"""`openbook train`: books, sentence pairs or conversations in, a model file out."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbook.cli.arguments import DEVICE
from openbook.cli.startup import STARTED

if TYPE_CHECKING:
    from openbook.training.loop import Callback


def train(
    books: Annotated[
        list[str],
        typer.Argument(
            help="txt, md, html, epub or pdf files, or pairs with --pairs; folders, globs", metavar="FILES..."
        ),
    ],
    pairs: Annotated[
        bool, typer.Option("--pairs", help="the files are sentence pairs: train a translator (an encoder-decoder)")
    ] = False,
    conversations: Annotated[
        bool, typer.Option("--conversations", help="with --from: the files are conversations, as JSON lines")
    ] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="the model file to make")] = None,
    base_model: Annotated[Path | None, typer.Option("--from", help="a model file to go on from")] = None,
    lora: Annotated[int | None, typer.Option(help="with --from: learn a change of this rank, e.g. 8")] = None,
    lora_targets: Annotated[
        str, typer.Option(help="matrices that --lora changes")
    ] = "query,key,value,output,gate,up,down",
    adapter: Annotated[
        bool, typer.Option("--adapter", help="with --lora: save the change alone, beside the model that it changes")
    ] = False,
    validation: Annotated[
        list[str] | None, typer.Option(help="hold out these files, not the tails of the books or some of the pairs")
    ] = None,
    validation_share: Annotated[
        float | None, typer.Option(help="part of each book, or of the pairs, to hold out")
    ] = None,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="keep passages or pairs that occur twice")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="a TOML file with any of the choices below")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="print what would be picked, and do not train")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace the model file, and begin an unfinished run anew")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="log for TensorBoard too")] = False,
    device: DEVICE = "auto",
    **choices: Any,
) -> None:
    """Train a model on books, or a translator on sentence pairs. Without options, everything is picked from the text
    and the speed of this machine.

    [bold]Examples[/bold]

      openbook train emma.txt                                all by itself
      openbook train books/ -o mine.openbook --minutes 20    for 20 minutes
      openbook train notes/ -o my.openbook --from mine.openbook    go on from it
      openbook train books/ --plan                           only say what it would do
      openbook train emma.txt --attention none --norm none   the essential transformer
      openbook train --pairs en-de.tsv -o en-de.openbook     a translator; lines of source, tab, target
      openbook train --pairs train.en train.de               two files whose lines belong together
      openbook train --conversations chats.jsonl --from small.openbook -o mine.openbook

    Ctrl-C saves and leaves a usable model; the same command goes on from there.
    """
    from rich.console import Console

    from openbook.progress import bars
    from openbook.training.recipe import read_toml, with_options
    from openbook.training.report.display import Display
    from openbook.training.report.tensorboard import TensorBoard
    from openbook.training.request import TrainingRequest
    from openbook.training.run import TrainingRun

    given = read_toml(config) if config else {}
    given = with_options(given, {name: value for name, value in choices.items() if value is not None})
    output = output or Path(Path(books[0]).name or "books").with_suffix(".openbook")
    request = TrainingRequest(
        books,
        output,
        given,
        pairs=pairs,
        conversations=conversations,
        validation=validation,
        validation_share=validation_share,
        keep_duplicates=keep_duplicates,
        device=device,
        base_model=base_model,
        lora=lora,
        lora_targets=lora_targets.split(","),
        adapter=adapter,
    )
    display = Display(Console())
    board = TensorBoard(request.folder / "tensorboard") if tensorboard else None
    callbacks: list[Callback] = [display] if board is None else [display, board]
    training = TrainingRun(request, callbacks, bars, lambda: time.perf_counter() - STARTED)
    try:
        if plan:
            training.plan()
        elif training.run(overwrite).outcome.stop_reason == "interrupted":
            raise typer.Exit(130)  # as shells say of what Ctrl-C ended, so that a script does not go on
    except KeyboardInterrupt:
        print("\nopenbook: interrupted; the same command goes on from what is kept", file=sys.stderr)
        raise
    finally:
        display.close()
        if board is not None:
            board.close()
