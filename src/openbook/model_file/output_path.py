"""Where an output may go: never over an input, and over another file only where that was asked for."""

import os
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

from openbook.errors import OpenbookError, SettingError
from openbook.text.printable import printable_path

SUFFIX = ".openbook"
"""Of a model file."""


def with_model_suffix(path: Path) -> Path:
    """The path with `.openbook` at its end. A folder's path stays as it is, to be refused by its own name."""
    if path.name.endswith(SUFFIX) or not path.name or path.is_dir():
        return path
    return path.with_name(path.name + SUFFIX)


def output_path(given: str | os.PathLike[str]) -> Path:
    """The same for the Python API, which warns where the name changes; the command prints it."""
    path = with_model_suffix(Path(given))
    if path != Path(given):
        message = f"{printable_path(Path(given))}: a model's name ends in .openbook, so it becomes {path.name}"
        warnings.warn(message, stacklevel=3)
    return path


def default_model_path(source: Path) -> Path:
    """The name for a model made of this file or folder, in the current folder: `a.v1.txt` → `a.v1.openbook`."""
    resolved = source.resolve()
    name = resolved.name if resolved.is_dir() else resolved.stem
    if not name or (not resolved.exists() and set(name) & set("*?[")):  # the root, or a glob
        name = "model"
    return Path(name + SUFFIX)


def check_new_file(path: Path, longest_suffix: str = "") -> None:
    """Refuse a file that cannot be made, whether it exists or not. Nothing is left of the attempt.

    Args:
        path: the file.
        longest_suffix: of the names that lie beside it.

    Raises:
        OpenbookError: naming the output.
    """
    shown, parent = printable_path(path), path.absolute().parent
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir, it never raises
        raise SettingError(f"{shown}: is a folder; give `output` the name of a file")
    too_long = len(os.fsencode(path.name + longest_suffix)) - _longest_name(parent)
    if too_long > 0:
        raise SettingError(f"{shown}: this name is too long; give `output` one that is {too_long} bytes shorter")
    if not os.path.isdir(parent):  # noqa: PTH112
        raise OpenbookError(f"{shown}: the folder {printable_path(path.parent)} does not exist; make it first")
    for folder in {parent, Path(os.path.realpath(path)).parent}:  # a link's file is written where it points
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise SettingError(
                f"{shown}: nothing can be written to {printable_path(folder)} ({error.strerror}); give another `output`"
            ) from None


def _longest_name(folder: Path) -> int:
    """The most bytes of a name in this folder."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):  # no such folder, or Windows
        return 255


def check_output_file(path: Path, inputs: Iterable[Path], overwrite: bool) -> None:
    """Refuse a file that cannot be written, that is one of the inputs, or that exists and may not be replaced.

    Raises:
        OpenbookError: naming the output.
    """
    check_new_file(path)
    shown = printable_path(path)
    if not os.path.lexists(path):
        return
    for each in inputs:
        if path.exists() and each.exists() and path.samefile(each):  # links too, symbolic and hard
            raise SettingError(
                f"{shown}: is the input {printable_path(each)}, which stays as it is; give another `output`"
            )
    if not overwrite:
        raise SettingError(f"{shown}: exists; give another `output`, or `overwrite` to replace it")


def check_output_folder(path: Path, inputs: Iterable[Path], overwrite: bool, mark: str) -> None:
    """The same for a folder, which is replaced as a whole.

    Args:
        path: the folder to make.
        inputs: files that must not be in it.
        overwrite: whether a folder with files may be replaced.
        mark: a file that such a folder has; a folder with files, but without this one, is never replaced.

    Raises:
        OpenbookError: naming the output.
    """
    shown, target = printable_path(path), Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise SettingError(f"{shown}: is a file; give `output` the name of a folder")
    if not target.parent.is_dir():
        raise OpenbookError(f"{shown}: the folder {printable_path(path.parent)} does not exist; make it first")
    for each in inputs:
        if Path(os.path.realpath(each)).is_relative_to(target):
            raise SettingError(f"{shown}: holds the input {printable_path(each)}; give another `output`")
    if Path.cwd().is_relative_to(target):
        raise SettingError(f"{shown}: is, or holds, the current folder; give `output` the name of a new folder")
    if target.is_dir() and any(target.iterdir()):
        if not overwrite:
            raise SettingError(f"{shown}: exists and is not empty; give another `output`, or `overwrite` to replace it")
        if not (target / mark).exists():
            raise SettingError(
                f"{shown}: has no {mark}, so it is not replaced, lest files be lost; give another `output`"
            )
