"""A lock that keeps a second run out of a working folder.

The system's own lock on a file (flock, or its like on Windows) ends with its process, however that ends. The file names
process and host, for the message, and for what the lock alone does not tell: a network disk may not carry it to another
host, and a child that outlives the run may still hold it. What is done on Windows follows its documentation and has
never run there.
"""

import errno
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from openbook.errors import SettingError
from openbook.text.printable import printable, printable_path

NAME = "lock"
LOCKED_BYTE = 1 << 20
"""Behind the text, because Windows lets nobody read a locked byte."""
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class Holder(NamedTuple):
    """The process that wrote a lock file."""

    process: int
    host: str


@contextmanager
def lock_folder(folder: Path, output: Path) -> Iterator[None]:
    """Hold a folder's lock, which is a file in it, and remove that in the end.

    Args:
        folder: exists.
        output: what is made there, for the message.

    Raises:
        OpenbookError: another run holds it, or may hold it on another host; names process, host and cure.
    """
    path = folder / NAME
    with _one_at_a_time(folder):
        handle = _acquire(path, output)
    try:
        yield
    finally:
        if sys.platform == "win32":  # which removes no open file
            os.close(handle)
            path.unlink(missing_ok=True)
        else:
            if _is_at(handle, path):
                path.unlink()
            os.close(handle)


def _acquire(path: Path, output: Path) -> int:
    """An open and locked file at `path` that names this process."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        locked, holder = _try_lock(handle), _read(handle)
        if not _is_at(handle, path):  # its holder removed it in between
            os.close(handle)
            continue
        problem = _problem(locked, holder, path)
        if problem is not None:
            os.close(handle)
            raise SettingError(f"{printable_path(output)}: {problem}")
        if locked is False:  # by a child of a run that is gone: another file is another lock
            path.unlink()
            os.close(handle)
            continue
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode())
        return handle


def _problem(locked: bool | None, holder: Holder | None, path: Path) -> str | None:
    """Why the lock is another's; None where it is not."""
    if holder is None:  # nobody wrote it, or somebody is about to
        return "another run trains into it; wait for it, or give another `output`" if locked is False else None
    if holder.host != socket.gethostname():
        return (
            f"process {holder.process} on {printable(holder.host)} trains into it; wait for it, or give another "
            f"`output`. If it no longer runs, delete {printable_path(path)}"
        )
    if locked or not _runs(holder.process):
        return None
    return f"process {holder.process} trains into it; wait for it, or end it, or give another `output`"


def _try_lock(handle: int) -> bool | None:
    """Whether the file could be locked; None where the system locks no files there."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in UNSUPPORTED else False
    return True


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Lets one process at a time look at the lock of a folder, so that no two see through the same one."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether `path` is still the open file."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _read(handle: int) -> Holder | None:
    """Who wrote the file; None where it is empty or something else."""
    with suppress(ValueError, KeyError, TypeError):
        os.lseek(handle, 0, os.SEEK_SET)
        found = json.loads(os.read(handle, 4096))
        return Holder(int(found["process"]), str(found["host"]))
    return None


def _runs(process: int) -> bool:
    """Whether a process of this machine is alive."""
    if sys.platform == "win32":  # there a lock ends with its process, and signal 0 is Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
