"""The folder that preparation works in: results of an interrupted run are found again, a full disk is said."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.text.corpus.books import shown

MENDABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


@contextmanager
def mendable(folder: Path) -> Iterator[None]:
    """Says of an error of the disk how it can be mended; others pass."""
    try:
        yield
    except OSError as error:
        if error.errno in MENDABLE:
            raise OpenbookError(
                f"{shown(folder)}: {error.strerror}; make room there (about three times the size of the inputs)"
                " or choose another folder, and run the same again: it goes on where it stopped"
            ) from error
        raise


def size_and_time(path: Path) -> tuple[int, int]:
    """Bytes and nanoseconds of last change; zeros for what cannot be looked at, of which reading will complain."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def working_folder(folder: Path, fingerprint: str) -> Path:
    """The folder with the results of an earlier, interrupted run of the same; those of others are removed."""
    work = folder / f"work-{fingerprint[:16]}"
    for other in folder.glob("work-*"):
        if other != work:
            shutil.rmtree(other, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    return work
