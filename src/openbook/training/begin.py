"""The door of a run: its request is checked, its folder held."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from openbook.errors import SettingError
from openbook.model_file.metadata import ModelMetadata
from openbook.text.corpus.working_directory import size_and_mtime
from openbook.text.input_files import find_files
from openbook.text.printable import printable_path
from openbook.training.group import current_group
from openbook.training.recipe import make_recipe
from openbook.training.request import TrainingRequest
from openbook.training.run_folder import RunFolder, open_run_folder

TEXT_SUFFIXES = (".txt", ".md", ".markdown", ".tsv", ".csv", ".json", ".jsonl")
"""Files of which nearly every byte is text; books of other formats may be mostly pictures."""
COPIES = 2
"""Of the text, that preparation has on the disk at a time, at least."""


class Begun(NamedTuple):
    """A request that was checked: the folder that is held for it, and the metadata of the model to continue from."""

    folder: RunFolder
    base: ModelMetadata | None


@contextmanager
def begin(request: TrainingRequest, overwrite: bool, *, temporary: bool = False) -> Iterator[Begun]:
    """Check a request, and hold its folder; in a group, the first process does.

    Args:
        request: what is asked for.
        overwrite: whether the output may be replaced.
        temporary: whether nothing that happens in the folder is needed later.

    Raises:
        OpenbookError: it cannot work, its output may not be written, or another run works there.
    """
    request.check()
    base = request.base_metadata()
    group = current_group()
    with ExitStack() as held:
        with group.in_turn():
            if group.is_first:
                request.check_output(overwrite)
                folder = held.enter_context(open_run_folder(request.folder, request.output, temporary=temporary))
                request.check_output(overwrite)  # again: another run may have ended in between
                if folder.is_new and not temporary:
                    _check_room_for_all(folder.path, request, base)
            else:
                folder = RunFolder(request.folder, is_new=False)
        yield Begun(folder, base)


def _check_room_for_all(folder: Path, request: TrainingRequest, base: ModelMetadata | None) -> None:
    """Refuse what surely does not fit on the disk: the text, and what a base model's checkpoints take."""
    check_room(folder, find_files(request.inputs))
    if base is not None:
        from openbook.training.plan.disk import check_disk

        check_disk(folder, base.architecture, make_recipe(request.choices), 0, request.lora_rank is not None)


def check_room(folder: Path, files: Sequence[Path]) -> None:
    """Refuse inputs whose text surely does not fit on the disk of the run's folder, before they are read.

    What the model takes is known when it is planned (`plan.disk`).

    Raises:
        OpenbookError: naming how much is needed and free, and what would help.
    """
    text_bytes = sum(size_and_mtime(file)[0] for file in files if file.suffix.lower() in TEXT_SUFFIXES)
    free = shutil.disk_usage(folder).free
    if COPIES * text_bytes > free:
        raise SettingError(
            f"{printable_path(folder)}: preparing {text_bytes / 1e9:.1f} GB of text takes at least "
            f"{COPIES * text_bytes / 1e9:.1f} GB of disk there, and {free / 1e9:.1f} GB are free; make room, or give "
            "another `output` or less text"
        )
