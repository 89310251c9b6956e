"""Which files are meant: names, folders and globs become one ordered list of books."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from openbook.errors import OpenbookError


def shown(path: str | Path) -> str:
    """The path as text that any terminal or file can take, even where its bytes are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def find_books(inputs: Sequence[str | Path]) -> list[Path]:
    """All files that the inputs name, each once, in the order of the inputs and sorted within folders and globs.

    Folders are searched through and through without following links to folders; hidden files are passed over there.
    A folder that cannot be listed is returned itself, so that reading it says why. Raises OpenbookError for an input
    that names nothing.
    """
    found: dict[str, Path] = {}
    for each in inputs:
        for path in _named_by(Path(each)):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _named_by(path: Path) -> Iterator[Path]:
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir, it never raises
        yield from _files_below(path)
    elif os.path.lexists(path):
        yield path
    elif hits := sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207 - Path.glob finds hidden files
        for hit in hits:
            yield from _named_by(Path(hit))
    else:
        raise OpenbookError(f"{shown(path)}: no such file or folder, and no glob that matches; check the spelling")


def _files_below(folder: Path) -> Iterator[Path]:
    unlisted: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=lambda error: unlisted.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))
    yield from unlisted
