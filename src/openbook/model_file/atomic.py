"""Write a file or folder whole or not at all."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from openbook.errors import OpenbookError, SettingError

MOST_BYTES = 200
"""Of a file's name that the name of its partial file repeats."""


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write. It replaces `path` when the `with` block ends well; otherwise `path` stays as it is.

    A program that has the old file open or mapped still sees the old bytes. A process killed in between leaves a
    `.NAME.….partial` file behind, which may be deleted.

    Raises:
        OpenbookError: the disk is full, or the folder is missing or not writable.
    """
    target = _target(path)
    if os.path.isdir(target):  # noqa: PTH112 - unlike Path.is_dir, it never raises
        raise OpenbookError(f"{path}: is a folder; give the name of a file")
    if os.path.lexists(target) and not os.path.isfile(target):  # noqa: PTH113 - likewise
        raise OpenbookError(f"{path}: is a device or a pipe, which is not replaced; give the name of a file")
    if not target.parent.is_dir():
        raise OpenbookError(f"{path}: the folder {target.parent} does not exist; make it first")
    temporary = _beside(target, "partial")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise OpenbookError(
                f"{path}: {_os_error_text(error)}{'; the old file is unchanged' * os.path.exists(target)}"  # noqa: PTH110
            ) from error
        raise
    _sync_folder(target.parent)


@contextmanager
def atomic_folder(path: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to fill. It replaces `path` when the `with` block ends well; otherwise `path` stays as it is.

    Raises:
        OpenbookError: the folder is not empty and `overwrite` is not set, or the disk cannot be written.
    """
    target = _target(path)
    if target.exists() and not target.is_dir():
        raise OpenbookError(f"{path}: is a file; give the name of a folder")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise SettingError(f"{path}: is there already and not empty; give another name, or `overwrite`")
    if not target.parent.is_dir():
        raise OpenbookError(f"{path}: the folder {target.parent} does not exist; make it first")
    temporary, old = _beside(target, "partial"), _beside(target, "old")
    try:
        temporary.mkdir()
        yield temporary
        _sync_folder(temporary)
        if target.exists():
            target.rename(old)
        try:
            temporary.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise OpenbookError(f"{path}: {_os_error_text(error)}") from error
        raise
    shutil.rmtree(old, ignore_errors=True)
    _sync_folder(target.parent)


def _beside(target: Path, end: str) -> Path:
    """A new hidden name beside `target`. It may be shorter: the name of `target` may be as long as a name can be."""
    name = os.fsencode(target.name)[:MOST_BYTES].decode("utf-8", "ignore")
    return target.with_name(f".{name}.{secrets.token_hex(4)}.{end}")


def _target(path: Path) -> Path:
    """Where to write: a link of one's own stays a link. One that another user made may lead to any file of one's own.

    Raises:
        OpenbookError: it is a link of another user's.
    """
    link = os.path.islink(path)  # noqa: PTH114 - unlike Path.is_symlink, it never raises
    if link and hasattr(os, "getuid") and path.lstat().st_uid not in (0, os.getuid()):
        raise OpenbookError(f"{path}: is a link that another user made; remove it, or give another name")
    return Path(os.path.realpath(path))


def _os_error_text(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "the disk is full or the file over its limit; make room"
    return f"cannot be written ({error.strerror})"


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the system can."""
    with suppress(OSError):  # the file is in place already; Windows and some network disks cannot
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
