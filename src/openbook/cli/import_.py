"""`openbook import`: a model of another program becomes a model file."""

from pathlib import Path
from typing import Annotated

import typer

from openbook.cli.arguments import IMPORTED_DTYPE


def import_model(
    path: Annotated[
        Path, typer.Argument(help="a folder with config.json and *.safetensors, or a GGUF file", show_default=False)
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="the model file to make")] = None,
    dtype: IMPORTED_DTYPE = None,
) -> None:
    """Make a model file of a folder as Hugging Face has them, or of a GGUF file. Nothing in them is run.

    [bold]Examples[/bold]

      openbook import downloads/some-model -o some.openbook
      openbook import downloads/some-model -o small.openbook --dtype bfloat16
      openbook import assistant.Q4_K_M.gguf -o assistant.openbook
      openbook import assistant.Q4_K_M.gguf -o assistant.openbook --dtype int8    a quarter of the memory
      openbook ask some.openbook "It is a truth"
    """
    from openbook.interop.importing import import_model as make
    from openbook.progress import bars

    output = output or Path(path.resolve().name).with_suffix(".openbook")
    made = make(path, output, dtype=dtype, track=bars)
    print(f"{output}: a {made.family} model, {made.dtype}; look at it with `openbook inspect {output}`")
