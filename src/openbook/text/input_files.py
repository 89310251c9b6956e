"""File names, folders and globs → one ordered list of files."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.text.printable import printable_path

WORKING = ".training"
"""Added to the name of a model file, it gives that of the folder in which a run works."""
NOT_SEARCHED = ".openbook" + WORKING


def find_files(inputs: Sequence[str | Path]) -> list[Path]:
    """All files that the inputs name, each once, in the order of the inputs and sorted within folders and globs.

    Folders are searched recursively, without hidden files, without the working folders of runs (`*.openbook.training`)
    and without following links to folders. A folder that cannot be listed is returned itself, so that reading it
    reports the reason.

    Raises:
        OpenbookError: an input matches nothing.
    """
    found: dict[str, Path] = {}
    for each in inputs:
        if each == "":
            raise OpenbookError("the name of an input is empty; name a file or a folder")
        for path in _expand(Path(each)):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _expand(path: Path) -> Iterator[Path]:
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir, it never raises
        yield from _files_below(path)
    elif os.path.lexists(path):
        yield path
    elif matches := sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207 - Path.glob finds hidden files
        for match in matches:
            if NOT_SEARCHED in str(path) or not any(part.endswith(NOT_SEARCHED) for part in Path(match).parts):
                yield from _expand(Path(match))
    else:
        raise OpenbookError(
            f"{printable_path(path)}: no such file or folder, and no glob that matches; check the spelling"
        )


def _files_below(folder: Path) -> Iterator[Path]:
    unreadable: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=lambda error: unreadable.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not name.endswith(NOT_SEARCHED))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))
    yield from unreadable
