"""Noticing that a file on disk is another one now."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileState:
    """Enough of a file's state to notice that it is another one now."""

    size: int
    modified: int
    number: int

    @classmethod
    def of(cls, path: Path) -> "FileState | None":
        """None where there is no such file."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)
