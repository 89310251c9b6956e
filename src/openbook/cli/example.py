"""`openbook example`: make a tiny model whose every number fits on the screen."""

from pathlib import Path
from typing import Annotated

import typer

from openbook.cli.arguments import model_output
from openbook.text.output import write


def example(
    name: Annotated[
        str | None, typer.Argument(help="which example; leave it out to list them", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="the model file (default: NAME.openbook)", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output if it exists")] = False,
) -> None:
    """Make a tiny model whose every number fits on the screen. Each is trained in seconds.

    [bold]Examples[/bold]

      openbook example                                   lists them
      openbook example decoder-only
      openbook explain decoder-only.openbook "what is openbook"
    """
    from openbook.examples import EXAMPLES, make_example
    from openbook.progress import bars
    from openbook.text.terminal import Terminal
    from openbook.training.report.display import Display

    if name is None:
        longest = max(map(len, EXAMPLES))
        for key, each in EXAMPLES.items():
            write(f"{key:<{longest}}  {each.summary}")
        write("\nMake one with: openbook example NAME")
        return
    target = model_output(output or Path(f"{name}.openbook"))
    display = Display(Terminal())
    try:
        made = make_example(name, target, overwrite=overwrite, callbacks=[display], track=bars)
    finally:
        display.close()
    write(f'{made.path}: look inside with\n    openbook explain {made.path} "{EXAMPLES[name].prompt}"')
