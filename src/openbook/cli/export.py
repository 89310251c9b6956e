"""`openbook export`: write a model file in another program's format."""

from pathlib import Path
from typing import Annotated

import typer

from openbook.cli.arguments import MODEL, parse_size
from openbook.text.output import warn, write


def export_model(
    model: MODEL,
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder or file to make", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="hf: a folder for transformers and vLLM; gguf: a file for programs built on ggml; "
            "peft: a LoRA adapter alone, for PEFT",
        ),
    ] = "hf",
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            help="float32, float16 or bfloat16, for gguf also q8_0, q6_k, q5_k, q5_1, q5_0, q4_k, q4_1, q4_0, and "
            "the mixtures q5_k_m and q4_k_m; "
            "the default is the model's own",
        ),
    ] = None,
    max_shard_size: Annotated[
        str, typer.Option(help="hf: the most that one file of weights may have, such as 500MB")
    ] = "5GB",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output if it exists")] = False,
) -> None:
    """Write a model for other programs, with its tokenizer, chat template and generation defaults.

    [bold]Examples[/bold]

      openbook export austen.openbook --to hf -o austen                            a folder, for transformers and vLLM
      openbook export austen.openbook --to hf -o austen --dtype bfloat16           half the size of float32
      openbook export austen.openbook --to gguf -o austen.gguf --dtype q8_0        one file, for programs built on ggml
      openbook export austen.openbook --to gguf -o austen.gguf --dtype q4_k_m      the same in half the size
      openbook export notes.openbook --to peft -o notes-lora                       an adapter, for PEFT

    An adapter goes out with its base, as one model, except to PEFT.
    """
    from openbook.interop.exporting import export_model as make
    from openbook.progress import bars

    size = parse_size("--max-shard-size", max_shard_size)
    made = make(model, output, to, dtype=dtype, max_shard_bytes=size, overwrite=overwrite, track=bars)
    for note in made.notes:
        warn(note)
    write(f"{output}: a {made.family} model in {len(made.files)} file{'s' * (len(made.files) > 1)} of weights")
