"""How a corpus is made once: found again by its fingerprint, and in a directory where an interrupted run resumes."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from openbook.errors import OpenbookError
from openbook.text.printable import printable_path

FIXABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


class Fingerprinted(Protocol):
    """A corpus that knows what it was made from."""

    @property
    def fingerprint(self) -> str:
        """See `fingerprint_inputs`."""


AnyCorpus = TypeVar("AnyCorpus", bound=Fingerprinted)


def fingerprint_inputs(groups: Iterable[Iterable[Path]], *options: object) -> str:
    """A hash of what a corpus is made from: the name, size and time of every file, and the options."""
    states = [[(os.path.realpath(path), *size_and_mtime(path)) for path in paths] for paths in groups]
    return hashlib.sha256(json.dumps([states, options]).encode()).hexdigest()


def load_or_make(
    folder: Path, fingerprint: str, load: Callable[[Path], AnyCorpus], make: Callable[[Path], None]
) -> AnyCorpus:
    """Load the corpus in `folder` if it has this fingerprint; else make it there first.

    Args:
        folder: where the corpus is.
        fingerprint: of its inputs.
        load: opens it; raises OSError, KeyError, TypeError or ValueError where none is complete.
        make: writes it. It is given a working directory that an interrupted run with the same fingerprint finds again.

    Raises:
        OpenbookError: the folder cannot be written.
    """
    try:
        corpus = load(folder)
        if corpus.fingerprint == fingerprint:
            return corpus
    except (OSError, KeyError, TypeError, ValueError):
        pass  # there is none yet, or part of one
    with _explain_disk_errors(folder):
        work = _open_working_directory(folder, fingerprint)
        make(work)
        shutil.rmtree(work, ignore_errors=True)
    return load(folder)


def _open_working_directory(folder: Path, fingerprint: str) -> Path:
    """The folder for the results of the run with this fingerprint; those of other runs are removed."""
    work = folder / f"work-{fingerprint[:16]}"
    for other in folder.glob("work-*"):
        if other != work:
            shutil.rmtree(other, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    return work


@contextmanager
def _explain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn disk errors that a person can fix into an OpenbookError that says how."""
    try:
        yield
    except OSError as error:
        if error.errno in FIXABLE:
            raise OpenbookError(
                f"{printable_path(folder)}: {error.strerror}; make room there (about three times the size of the"
                " inputs) or choose another folder, then run the same command again: it goes on where it stopped"
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


def read_json_file(path: Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(path.read_text(encoding="ascii"))
