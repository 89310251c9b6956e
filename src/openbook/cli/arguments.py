"""Arguments that several verbs take."""

from pathlib import Path
from typing import Annotated

import typer

MODEL = Annotated[Path, typer.Argument(help="a model file, such as austen.openbook", show_default=False)]
DEVICE = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]
ENGINE = Annotated[
    str, typer.Option(help="what decodes: torch; or onnx, which opens in half a minute and is then up to twice as fast")
]
JSON = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]
IMPORTED_DTYPE = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="float32, float16, bfloat16, or int8: matrices of 8 bits with a scale for each row; as it is, if absent",
    ),
]
DTYPE = Annotated[str | None, typer.Option(help="float32, float16 or bfloat16; as it is, if absent")]
