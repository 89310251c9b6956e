"""`openbook import`: make a model file of another program's model."""

from pathlib import Path
from typing import Annotated

import typer

from openbook.cli.arguments import model_output
from openbook.errors import SettingError
from openbook.text.output import warn, write


def import_model(
    path: Annotated[
        Path,
        typer.Argument(
            help="a folder with config.json and *.safetensors, a GGUF file, or (with --base) a LoRA adapter of PEFT",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="the model file to make; the default is PATH's name with .openbook"),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            help="float32, float16, bfloat16, int8 (matrices of 8 bits with a scale for each row) or int4 (matrices of "
            "4 bits in groups of 32, embeddings of 8); "
            "the default is the model's own",
        ),
    ] = None,
    base: Annotated[
        Path | None, typer.Option("--base", help="of a PEFT adapter: the model file that it changes")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output if it exists")] = False,
) -> None:
    """Make a model file of a Hugging Face folder or a GGUF file.

    The folder is what `huggingface-cli download` or `save_pretrained` gives. Nothing in it is run: pickled weights
    and code are refused.

    [bold]Examples[/bold]

      openbook import downloads/some-model -o some.openbook
      openbook import downloads/some-model -o small.openbook --dtype bfloat16    half the size of float32
      openbook import downloads/some-model -o tiny.openbook --dtype int8         a quarter of the size
      openbook import downloads/some-model -o least.openbook --dtype int4        a sixth
      openbook import assistant.Q4_K_M.gguf -o assistant.openbook

      openbook import downloads/some-lora --base some.openbook -o lora.openbook  an adapter, beside its base

    Then ask it, or see what it includes:

      openbook ask some.openbook "It is a truth"
      openbook inspect some.openbook
    """
    from openbook.interop.importing import import_model as make
    from openbook.model_file.output_path import default_model_path
    from openbook.progress import bars

    if base is not None:
        _import_adapter(path, base, output, dtype, overwrite)
        return
    output = default_model_path(path) if output is None else model_output(output)
    made = make(path, output, dtype=dtype, overwrite=overwrite, track=bars)
    for note in made.notes:
        warn(note)
    write(f"{output}: a {made.family} model, {made.dtype}; look at it with `openbook inspect {output}`")


def _import_adapter(path: Path, base: Path, output: Path | None, dtype: str | None, overwrite: bool) -> None:
    """Make an adapter file beside its base."""
    from openbook.interop.peft.importing import import_adapter
    from openbook.model_file.output_path import default_model_path

    if dtype is not None:
        raise SettingError("`dtype`: is not for adapters, which keep their numbers as they are")
    output = base.parent / default_model_path(path) if output is None else model_output(output)
    made = import_adapter(path, base, output, overwrite=overwrite)
    write(f"{output}: an adapter of {base.name}, which changes {made.matrices} matrices; made for {made.base}")
