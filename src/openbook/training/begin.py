"""The door of a run: its request is checked, its folder held."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from openbook.model_file.metadata import ModelMetadata
from openbook.training.request import TrainingRequest
from openbook.training.run_folder import RunFolder, open_run_folder


class Begun(NamedTuple):
    """A request that was checked: the folder that is held for it, and the metadata of the model to continue from."""

    folder: RunFolder
    base: ModelMetadata | None


@contextmanager
def begin(request: TrainingRequest, overwrite: bool) -> Iterator[Begun]:
    """Check a request, and hold its folder.

    Raises:
        OpenbookError: it cannot work, its output may not be written, or another run works there.
    """
    request.check()
    base = request.base_metadata()
    request.check_output(overwrite)
    with open_run_folder(request.folder, request.output) as folder:
        request.check_output(overwrite)  # again: another run may have ended in between
        yield Begun(folder, base)
