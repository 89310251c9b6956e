"""The folder that preparation works in: an interrupted run finds its results there again."""

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openbook.errors import OpenbookError
from openbook.text.printable import printable_path

FIXABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def open_working_directory(folder: Path, fingerprint: str) -> Path:
    """The folder for the results of the run with this fingerprint; those of other runs are removed."""
    work = folder / f"work-{fingerprint[:16]}"
    for other in folder.glob("work-*"):
        if other != work:
            shutil.rmtree(other, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    return work


@contextmanager
def explain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn disk errors that a person can fix into an OpenbookError that says how."""
    try:
        yield
    except OSError as error:
        if error.errno in FIXABLE:
            raise OpenbookError(
                f"{printable_path(folder)}: {error.strerror}; make room there (about three times the size of the inputs)"
                " or choose another folder, then run the same command again: it goes on where it stopped"
            ) from error
        raise


def size_and_mtime(path: Path) -> tuple[int, int]:
    """Size in bytes and time of last change in nanoseconds; zeros for a file that reading will complain about."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content), encoding="ascii")
    part.replace(path)
