"""The working folder of a run: made when the run begins, for one process at a time, kept where something is in it."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openbook.errors import OpenbookError, SettingError
from openbook.model_file.atomic import atomic_write
from openbook.text.printable import printable_path
from openbook.training.folder_lock import lock_folder

RECORD = "run.json"


@dataclass
class RunFolder:
    """A folder that this process holds.

    Attributes:
        path: the folder.
        is_new: whether it was not there before.
        worth_keeping: whether it stays if the run is refused from here on.
    """

    path: Path
    is_new: bool
    worth_keeping: bool = False


@contextmanager
def open_run_folder(path: Path, output: Path, *, temporary: bool = False) -> Iterator[RunFolder]:
    """Make and lock a run's folder. If the run is refused, or temporary, a folder that was not there before goes again.

    A full disk and Ctrl-C are no refusals: what is prepared stays for the next run.

    Args:
        path: the folder.
        output: the model file, for messages.
        temporary: whether nothing that happens there is needed later.

    Raises:
        OpenbookError: another process holds it, or it cannot be made.
    """
    is_new = not path.exists()
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise SettingError(
            f"{printable_path(path)}: cannot be created ({error.strerror}); give another `output`"
        ) from None
    folder, discard = RunFolder(path, is_new), temporary
    try:
        with lock_folder(path, output):
            try:
                yield folder
            except OpenbookError as error:
                discard = temporary or not (folder.worth_keeping or isinstance(error.__cause__, OSError))
                raise
            finally:
                if discard and is_new:
                    shutil.rmtree(path, ignore_errors=True)
    finally:
        if discard and is_new:
            with suppress(OSError):  # Windows kept the open lock file in it until here
                path.rmdir()


@dataclass(frozen=True)
class UnfinishedRun:
    """What a run writes down when it begins, so that the same one goes on from there.

    Args:
        identity: what makes it the same run, as JSON.
        recipe: all of its choices.
        overwrite: whether it may replace a file that was there before.
        saved: the fingerprint of the model that it wrote when it was interrupted.
    """

    identity: dict[str, Any]
    recipe: dict[str, Any]
    overwrite: bool
    saved: str | None = None

    @classmethod
    def read(cls, folder: Path) -> "UnfinishedRun | None":
        """That of the run in a folder; None where there is none.

        Raises:
            OpenbookError: it is damaged.
        """
        path = folder / RECORD
        if not path.exists():
            return None
        try:
            return cls(**json.loads(path.read_text("utf-8")))
        except (ValueError, TypeError):
            raise OpenbookError(f"{printable_path(path)}: is damaged; delete {printable_path(folder)}") from None

    def write(self, folder: Path) -> None:
        """Write it down."""
        with atomic_write(folder / RECORD) as file:
            file.write(json.dumps(asdict(self)).encode())

    def is_for(self, identity: Mapping[str, Any]) -> bool:
        """Whether it is the run of this identity."""
        return self.identity == json.loads(json.dumps(identity))

    def may_replace(self, output: Path) -> bool:
        """Whether it may write over the file at `output`: it began with --overwrite, or wrote that file itself."""
        if self.overwrite or self.saved is None:
            return self.overwrite
        from openbook.model_file.adapter import fingerprint

        return fingerprint(output) == self.saved
