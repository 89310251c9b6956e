"""`openbook train`: books, sentence pairs or conversations in, a model file out."""

import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from openbook.cli.arguments import DEVICE, ENCODING, model_output
from openbook.cli.sign_of_life import waiting_for_input
from openbook.cli.startup import STARTED
from openbook.cli.streams import flush_output
from openbook.cli.usage_errors import option_name
from openbook.errors import NAMED, OpenbookError, SettingError
from openbook.text.output import warn
from openbook.training.group import current_group, is_member, is_silent

if TYPE_CHECKING:
    from openbook.training.loop import Callback
    from openbook.training.request import TrainingRequest


def train(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="books (txt, md, html, epub, pdf), sentence pairs or conversations; files, folders, globs",
            metavar="FILES...",
            show_default=False,
        ),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="train a translator (encoder-decoder) on sentence pairs")
    ] = False,
    conversations: Annotated[
        bool, typer.Option("--conversations", help="with --from: fine-tune on conversations, as JSON lines")
    ] = False,
    tokens: Annotated[
        Path | None, typer.Option(help="a folder of `openbook prepare`, instead of files", metavar="DIR")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="model file to write")] = None,
    base_model: Annotated[Path | None, typer.Option("--from", help="model file to fine-tune")] = None,
    lora_rank: Annotated[
        int | None, typer.Option(help="with --from: train LoRA matrices of this rank only, e.g. 8")
    ] = None,
    lora_targets: Annotated[
        str, typer.Option(help="matrices that LoRA changes")
    ] = "query,key,value,output,gate,up,down",
    adapter: Annotated[
        bool, typer.Option("--adapter", help="with --lora-rank: save the LoRA matrices alone, beside the base model")
    ] = False,
    tiny: Annotated[
        bool,
        typer.Option(
            "--tiny", help="learn a few sentences or pairs by heart, with a model small enough to follow by hand"
        ),
    ] = False,
    validation: Annotated[
        list[str] | None, typer.Option(help="files to validate on, instead of a held-out part of the data")
    ] = None,
    validation_fraction: Annotated[
        float | None,
        typer.Option(help="fraction of each book, or of the pairs, to hold out; 0: none (default: planned)"),
    ] = None,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="keep duplicate passages or pairs")
    ] = False,
    encoding: ENCODING = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with any of the options below")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="print the plan and do not train")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace the model file, and restart a run that was begun without it")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="log to TensorBoard too")] = False,
    device: DEVICE = "auto",
    processes: Annotated[
        int, typer.Option(min=1, max=4096, help="train in so many processes of this machine; see docs/scale.md")
    ] = 1,
    shard: Annotated[
        bool, typer.Option("--shard", help="with several processes: each keeps a part of the model (FSDP)")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="with several processes: seconds to wait for one before the run ends")
    ] = 600.0,
    **choices: Any,
) -> None:
    """Train a model on books or a translator on sentence pairs, or fine-tune a model.

    Options that are not given are planned from the amount of data, the measured speed of this machine and the time.

    [bold]Examples[/bold]

      openbook train emma.txt                                 everything planned
      openbook train books/ -o mine.openbook --minutes 20     for 20 minutes
      openbook train notes/ -o my.openbook --from mine.openbook    fine-tune
      openbook train books/ --plan                            print the plan only
      openbook train sentences.txt --tiny                     a few lines by heart, in seconds
      openbook train emma.txt --attention none --norm none    without softmax and norms
      openbook train --pairs en-de.tsv -o en-de.openbook      a translator; lines of source, tab, target
      openbook train --pairs train.en train.de                two parallel files
      openbook train --tokens tokens/ -o large.openbook       text that openbook prepare has encoded
      openbook train --conversations chats.jsonl --from small.openbook -o mine.openbook
      openbook train books/ -o mine.openbook --processes 4    in four processes; torchrun starts more machines

    Ctrl-C saves a usable model; the same command resumes.
    """
    if processes > 1 and not is_member():
        _launch(processes)
    from openbook.model_file.output_path import default_model_path
    from openbook.training.recipe import read_toml, with_options
    from openbook.training.request import TrainingRequest

    if not files and tokens is None:
        raise OpenbookError("nothing to train on: name files, or give --tokens")
    from_file = read_toml(config) if config else {}
    given = with_options(from_file, {name: value for name, value in choices.items() if value is not None})
    request = TrainingRequest(
        files or [],
        default_model_path(Path(files[0]) if files else Path(str(tokens))) if output is None else model_output(output),
        given,
        pairs=pairs,
        conversations=conversations,
        validation=validation,
        validation_fraction=validation_fraction,
        keep_duplicates=keep_duplicates,
        encoding=encoding,
        device=device,
        base_model=base_model,
        lora_rank=lora_rank,
        lora_targets=lora_targets.split(","),
        adapter=adapter,
        config=config,
        tiny=tiny,
        shard=shard,
        tokens=tokens,
    )
    in_file = {name for name in from_file if choices.get(name) is None}
    with _callbacks(request.folder if tensorboard else None) as callbacks, _keys_named(config, in_file):
        _run(request, callbacks, plan, overwrite, timeout)


def _launch(processes: int) -> NoReturn:
    """Run this command in several processes, and exit as they do."""
    from openbook.training.distributed.launch import launch

    with waiting_for_input():
        code, problem = launch(processes, sys.argv[1:])
    if problem:
        warn(problem)
    raise typer.Exit(code)


@contextmanager
def _callbacks(tensorboard: Path | None) -> "Iterator[list[Callback]]":
    """What shows and logs a run; TensorBoard's files go to a folder inside this one."""
    from openbook.text.terminal import Terminal
    from openbook.training.report.display import Display
    from openbook.training.report.tensorboard import TensorBoard

    callbacks: list[Display | TensorBoard] = [] if is_silent() else [Display(Terminal())]
    if tensorboard is not None and not is_silent():
        callbacks.append(TensorBoard(tensorboard / "tensorboard"))
    try:
        yield list(callbacks)
    finally:
        for callback in callbacks:
            callback.close()


@contextmanager
def _keys_named(file: Path | None, keys: Collection[str]) -> Iterator[None]:
    """An error in a setting of a TOML file names the file and its key, not an option."""
    try:
        yield
    except SettingError as error:
        named = [name for name in NAMED.findall(error.message) if name in keys]
        if not named:
            raise
        shown = error.spelled(lambda name: name if name in keys else option_name(name))
        raise OpenbookError(f"{file}: {shown}") from None


def _run(request: "TrainingRequest", callbacks: "list[Callback]", plan: bool, overwrite: bool, timeout: float) -> None:
    """Train, or only plan."""
    from openbook.progress import bars, silent
    from openbook.training.distributed.join import joined

    track = silent if is_silent() else bars

    def clock() -> float:
        return time.perf_counter() - STARTED

    try:
        with joined(request, timeout):
            if plan:
                from openbook.training.run import TrainingRun

                TrainingRun(request, callbacks, track, clock).plan()
                return
            from openbook.training.start import train

            result = train(request, callbacks, track, clock, overwrite)
            flush_output()
        if result.outcome.stop_reason == "interrupted":
            raise typer.Exit(130)  # as shells report Ctrl-C, so that a script stops
    except KeyboardInterrupt:
        if current_group().speaks():
            warn("interrupted; the same command resumes")
        raise
