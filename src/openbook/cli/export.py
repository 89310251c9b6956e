"""`openbook export`: a model file becomes a model of another program."""

from pathlib import Path
from typing import Annotated

import typer

from openbook.cli.arguments import DTYPE, MODEL


def export_model(
    model: MODEL,
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder or file to make", show_default=False)],
    to: Annotated[
        str,
        typer.Option("--to", help="hf: a folder for transformers and vLLM; gguf: a file for programs built on ggml"),
    ] = "hf",
    dtype: DTYPE = None,
    shard_gigabytes: Annotated[float, typer.Option(help="begin another file of weights after so much")] = 5.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the folder if it is there")] = False,
) -> None:
    """Write a model for other programs, with its tokenizer, chat template and generation defaults.

    [bold]Examples[/bold]

      openbook export austen.openbook --to hf -o austen
      openbook export austen.openbook --to hf -o austen --dtype bfloat16
      openbook export austen.openbook --to gguf -o austen.gguf --dtype q8_0
    """
    from openbook.interop.exporting import export_model as write
    from openbook.progress import bars

    print(write(model, output, to, dtype=dtype, gigabytes=shard_gigabytes, overwrite=overwrite, track=bars))
