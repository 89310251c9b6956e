"""The command `openbook`: its commands put together."""

import openbook.cli.startup  # isort: skip  # noqa: F401  before anything heavy

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import typer

from openbook import __version__
from openbook.cli.ask import ask
from openbook.cli.compare import compare
from openbook.cli.evaluate import evaluate
from openbook.cli.example import example
from openbook.cli.explain import explain
from openbook.cli.export import export_model
from openbook.cli.import_ import import_model
from openbook.cli.inspect import inspect
from openbook.cli.merge import merge
from openbook.cli.prepare import prepare
from openbook.cli.serve import serve
from openbook.cli.sign_of_life import start_sign_of_life
from openbook.cli.streams import flush_output, use_safe_streams
from openbook.cli.tokenize import tokenize
from openbook.cli.train import train
from openbook.cli.usage_errors import UsageError, option_name, usage_error_text
from openbook.errors import OpenbookError
from openbook.text.output import warn, write
from openbook.text.printable import printable_path
from openbook.training.group import current_group, is_member

app = typer.Typer(
    name="openbook",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Train a transformer on your own books or sentence pairs, ask it, and open it up.

    [bold]Your first model[/bold]

      openbook train emma.txt persuasion.epub -o austen.openbook --minutes 5
      openbook ask austen.openbook "It is a truth"
      openbook explain austen.openbook "It is a truth"

    [bold]Your first translator[/bold]

      openbook train --pairs en-de.tsv -o en-de.openbook --minutes 10
      openbook ask en-de.openbook "A man sleeps."
      openbook evaluate en-de.openbook test.tsv

    Each command has its own --help, with more examples.""",
)

GROUPS: dict[str, tuple[tuple[str, Callable[..., None], str], ...]] = {
    "Train": (
        ("train", train, "Train a model on books, or a translator on sentence pairs."),
        ("prepare", prepare, "Clean and encode much text once, for many runs."),
        ("compare", compare, "Train both kinds of translator on the same pairs and compare."),
        ("evaluate", evaluate, "Score a model on held-out texts or sentence pairs."),
    ),
    "Ask": (
        ("ask", ask, "Continue a prompt, answer it, hold a chat, or translate."),
        ("serve", serve, "Serve models: a page to talk, and the APIs that other tools speak."),
    ),
    "Look inside": (
        ("explain", explain, "Show every step from a prompt to the next token."),
        ("example", example, "Make a tiny model whose every number fits on the screen."),
        ("tokenize", tokenize, "Show the tokens of a text."),
        ("inspect", inspect, "Show what a model file contains and how it was trained."),
    ),
    "Exchange": (
        ("merge", merge, "Make one model file of a LoRA adapter and its base model."),
        ("import", import_model, "Make a model file from a Hugging Face folder or a GGUF file."),
        ("export", export_model, "Write a model as a Hugging Face folder or a GGUF file."),
    ),
}
"""The commands by group: name, function, and what it does in one line."""

for group, commands in GROUPS.items():
    for name, function, summary in commands:
        app.command(name, short_help=summary, rich_help_panel=group)(function)


def show_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        write(f"openbook {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    """Options of the command itself."""


def main() -> None:
    """Run the command. What a person did wrong, or the system refused, is one line, not a traceback."""
    if sys.stdout is not sys.__stdout__:  # a test or a notebook catches the output
        sys.exit(_run())
    streams = use_safe_streams()
    sign = start_sign_of_life(streams)
    try:
        code = _run()
    finally:
        sign.end()
    if is_member():  # no thread that still waits for another process may keep this one
        with suppress(OpenbookError, BrokenPipeError):
            flush_output()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    """The exit code: 0, 1 for an error, 2 for options that cannot be read."""
    if "train" in sys.argv or "_OPENBOOK_COMPLETE" in os.environ:  # importing the recipe takes a while
        from openbook.cli.options import add_recipe_options

        add_recipe_options(train)
    try:
        code = app(prog_name="openbook", standalone_mode=False)
        flush_output()
        return code or 0
    except OpenbookError as error:
        return _failed(error.spelled(option_name))
    except UsageError as error:
        if len(sys.argv) == 1:  # the help has been printed
            return 2
        return _failed(usage_error_text(error), error.exit_code)
    except BrokenPipeError:  # its reader has seen enough, as after `| head`
        return 1
    except OSError as error:
        named = f"{printable_path(error.filename)}: " if isinstance(error.filename, str) else ""
        return _failed(f"{named}{error.strerror or error}")
    except MemoryError:
        return _failed("there is not enough memory")


def _failed(message: str, code: int = 1) -> int:
    with suppress(OpenbookError, BrokenPipeError):
        flush_output()
    if current_group().speaks():
        warn(message)
    return code


if __name__ == "__main__":
    main()
