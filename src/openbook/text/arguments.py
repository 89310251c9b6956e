"""Arguments of the Python API, checked at its door: a text where texts are meant is one, bytes are refused."""

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from openbook.errors import OpenbookError


def text_argument(value: Any, name: str) -> str:
    """A text. Raises OpenbookError for anything else."""
    if not isinstance(value, str):
        raise OpenbookError(f"{name}: {_kind(value)} is no text; give a str")
    return value


def texts_argument(value: Any, name: str) -> list[str]:
    """One text, or several. Raises OpenbookError for anything else."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise OpenbookError(f"{name}: {_kind(value)} is no text; give a str or a list of them")
    return [text_argument(each, f"{name}[{number}]") for number, each in enumerate(value)]


def path_argument(value: Any, name: str) -> Path:
    """A path. Raises OpenbookError for anything else."""
    if not isinstance(value, str | PathLike) or isinstance(value, bytes):
        raise OpenbookError(f"{name}: {_kind(value)} is no path; give a str or a Path")
    return Path(value)


def paths_argument(value: Any, name: str) -> list[str | Path]:
    """One path or glob, or several. Raises OpenbookError for anything else."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, PathLike):
        return [Path(value)]
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise OpenbookError(f"{name}: {_kind(value)} is no path; give a str, a Path or a list of them")
    listed = list(value)
    for number, each in enumerate(listed):
        path_argument(each, f"{name}[{number}]")
    return [each if isinstance(each, str) else Path(each) for each in listed]


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__
