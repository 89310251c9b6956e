"""Opens files that a stranger may have made: only plain ones, and in a folder only those that belong to it."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from openbook.errors import OpenbookError
from openbook.text.printable import printable_path


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading in binary, unless it is a pipe or a device, which might never answer or never end.

    Raises:
        OpenbookError: it is no plain file.
        OSError: it cannot be opened.
    """
    return _open(path, printable_path(path))


def open_member(path: Path) -> BinaryIO:
    """The same for a file of a folder from a stranger, which may be a link only to a file of the same folder.

    Otherwise a link could copy any file of the user's into a model that is then shared. In the cache of Hugging Face,
    the files of a snapshot are links to the blobs of the same repository.

    Raises:
        OpenbookError: it is no plain file, or a link that leaves the folder; gives the file's name without its folder.
        OSError: it cannot be opened.
    """
    name = printable_path(path.name)
    folder, target = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path))
    blobs = next((each.parent / "blobs" for each in folder.parents if each.name == "snapshots"), folder)
    if not target.is_relative_to(folder) and not target.is_relative_to(blobs):
        raise OpenbookError(
            f"{name}: is a link out of its folder, to {printable_path(target)}; put a copy in its place"
        )
    return _open(path, name)


def _open(path: Path, name: str) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OpenbookError(f"{name}: is not a plain file; copy its contents to one")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
