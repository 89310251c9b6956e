"""`openbook merge`: make one model file of an adapter and its base."""

from pathlib import Path
from typing import Annotated

import typer

from openbook.cli.arguments import model_output
from openbook.text.formatting import format_count
from openbook.text.output import write


def merge(
    adapter: Annotated[
        Path, typer.Argument(help="an adapter, such as notes.openbook, beside its base model", show_default=False)
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="the model file to make", show_default=False)],
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float32, float16, bfloat16, int8 or int4; the default is the base's")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output if it exists")] = False,
) -> None:
    """Make one model file of a LoRA adapter and its base model: weight + scale · B · A for each matrix that changes.

    Every command takes an adapter as it is, as long as its base lies beside it. Merge it to give it away in one file,
    to make it the base of another adapter, or to save the time that adding the update takes whenever it is opened.

    Of an int8 or int4 base, the matrices that change become float32, since rounding would undo most of a small update;
    --dtype int8 rounds them, and says how much that costs.

    [bold]Examples[/bold]

      openbook train notes/ --from austen.openbook -o notes.openbook --lora-rank 8 --adapter
      openbook merge notes.openbook -o both.openbook
      openbook merge notes.openbook -o small.openbook --dtype bfloat16
    """
    from openbook.model_file.merging import merge_model
    from openbook.progress import bars

    output = model_output(output)
    made = merge_model(adapter, output, dtype=dtype, overwrite=overwrite, track=bars)
    write(f"{output}: a whole model, {made.dtype}; {format_count(made.matrices, 'matrix', 'matrices')} changed")
    if made.widened:
        write(f"{made.widened} of them were quantized and are float32 now; --dtype int8 would round most of it away")
    if made.lost >= SHOWN:
        write(f"rounding to {made.dtype} is off by {made.lost:.0%} of the update; --dtype float32 keeps all of it")


SHOWN = 0.005
"""The share of an update that rounding may take without a word."""
