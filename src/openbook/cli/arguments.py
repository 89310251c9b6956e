"""Arguments and options that several commands share."""

import re
from pathlib import Path
from typing import Annotated

import typer

from openbook.errors import OpenbookError
from openbook.model_file.output_path import with_model_suffix
from openbook.text.output import write
from openbook.text.printable import printable, printable_path

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
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
BLEU_TOKENIZER = Annotated[
    str | None,
    typer.Option(
        help="pairs: sacrebleu's tokenizer: 13a, intl, zh, ja-mecab, ko-mecab, char or none (default: by the script)"
    ),
]
JSON = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]


def model_output(given: Path) -> Path:
    """The name for a model file: what was given, with `.openbook` at its end. Says so where that is added."""
    path = with_model_suffix(given)
    if path != given:
        write(f"{printable_path(given)}: a model's name ends in .openbook, so it becomes {printable_path(path)}")
    return path


def parse_size(option: str, text: str) -> int:
    """Bytes in a size such as 5GB, 500MB or 1.5GiB. Raises OpenbookError, which names the option, where it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?i?b)", text.strip(), re.IGNORECASE)
    if found is None or (unit := found[2].upper()) not in UNITS:
        raise OpenbookError(f"{option} {printable(text)}: must be a size such as 5GB or 500MB")
    return int(float(found[1]) * UNITS[unit])
