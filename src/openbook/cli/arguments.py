"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from openbook.model_file.output_path import with_model_suffix
from openbook.text.output import write
from openbook.text.printable import printable_path

MODEL = Annotated[Path, typer.Argument(help="a model file, such as austen.openbook", show_default=False)]
DEVICE = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]
ENGINE = Annotated[
    str,
    typer.Option(
        help="what decodes: native, compiled C++ for CPUs; torch; onnx, which takes half a minute to open; or auto, "
        "which is native where it is compiled and the model runs on the CPU, torch otherwise"
    ),
]
ENCODING = Annotated[
    str | None, typer.Option(help="encoding of the files, such as windows-1252 (default: found out for each file)")
]
JSON = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]


def model_output(given: Path) -> Path:
    """The name for a model file: what was given, with `.openbook` at its end. Says so where that is added."""
    path = with_model_suffix(given)
    if path != given:
        write(f"{printable_path(given)}: a model's name ends in .openbook, so it becomes {printable_path(path)}")
    return path
