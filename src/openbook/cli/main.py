"""The command `openbook`: its verbs put together."""

import openbook.cli.startup  # isort: skip  # noqa: F401  before anything heavy

import os
import sys
from typing import Annotated

import typer

from openbook import __version__
from openbook.cli.ask import ask
from openbook.cli.compare import compare
from openbook.cli.evaluate import evaluate
from openbook.cli.explain import explain
from openbook.cli.export import export_model
from openbook.cli.import_ import import_model
from openbook.cli.inspect import inspect
from openbook.cli.train import train
from openbook.errors import OpenbookError

app = typer.Typer(
    name="openbook",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Train a transformer on your own books, ask it, and open it up.

    [bold]Examples[/bold]

      openbook train emma.txt persuasion.epub -o austen.openbook --minutes 5
      openbook ask austen.openbook "It is a truth"
      openbook explain austen.openbook "It is a truth" --terminal
      openbook inspect austen.openbook
      openbook evaluate austen.openbook heldout.txt
      openbook train --pairs en-de.tsv -o en-de.openbook
      openbook compare --pairs en-de.tsv --minutes 5

    Every verb has a --help of its own. `openbook --install-completion` completes names in your shell.""",
)

for verb in (train, compare, ask, explain, inspect, evaluate):
    app.command()(verb)
app.command("import")(import_model)
app.command("export")(export_model)


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"openbook {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="show it")] = False,
) -> None:
    """Options of all verbs."""


def main() -> None:
    """Run the command; what a person can mend is one line, not a traceback."""
    if "train" in sys.argv or "_OPENBOOK_COMPLETE" in os.environ:  # reading the recipe takes a while
        from openbook.cli.options import add_recipe_options

        add_recipe_options(train)
    try:
        app(prog_name="openbook")
    except OpenbookError as error:
        print(f"openbook: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        _write_out()


def _write_out() -> None:
    """Write what is still held back. A reader who has seen enough ends the command, without a word."""
    out = sys.__stdout__  # not what stands in for it after a write that failed: Python tries both when it ends
    try:
        if out is not None:
            out.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)


if __name__ == "__main__":
    main()
