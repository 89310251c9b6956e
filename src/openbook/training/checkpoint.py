"""Checkpoints: everything that the next step depends on, in one safetensors file that is replaced as a whole.

There is no pickle: tensors are tensors, and the rest is JSON in the header.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from openbook.errors import OpenbookError, SettingError
from openbook.model_file.writing import write_tensors
from openbook.training.checkpoint_parts import read_parts, state_of_parts
from openbook.training.group import copy_into, current_group, drop_gathered


def write_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors and a JSON state to `path`, whole or not at all.

    Raises:
        OpenbookError: the disk is full or the folder is not writable.
    """
    write_tensors(path, as_metadata(state), tensors)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state that `write_checkpoint` wrote.

    Raises:
        OpenbookError: the file is not a checkpoint.
    """
    with _opened(path) as file:
        # Cloned, because the tensors are views of the memory-mapped file and training writes to them.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        return tensors, _state(file)


def read_state(path: Path) -> dict[str, Any]:
    """The state alone.

    Raises:
        OpenbookError: the file is not a checkpoint.
    """
    with _opened(path) as file:
        return _state(file)


def as_metadata(state: dict[str, Any]) -> dict[str, str]:
    """A state as a safetensors file keeps it."""
    return {"state": json.dumps(state)}


def _state(file: Any) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((file.metadata() or {})["state"])
    return state


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise OpenbookError(f"{path}: is not a checkpoint ({error}); delete it and train again") from None


@torch.no_grad()
def restore_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Copy what `write_checkpoint` wrote into the tensors of the same names, one at a time; returns the state.

    Raises:
        OpenbookError: the file is not a checkpoint, or one of another model.
    """
    with _opened(path) as file:
        state, found = _state(file), set(file.keys())
        for name, tensor in tensors.items():
            if name not in found or file.get_slice(name).get_shape() != list(tensor.shape):
                raise OpenbookError(f"{path}: is of another model (tensor {name}); delete it and train again")
            copy_into(tensor, file.get_tensor(name))
        return state


def trainable_weights(model: nn.Module) -> dict[str, Tensor]:
    """The trainable parameters by name; the tensors themselves, not copies."""
    drop_gathered(model)
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


class Checkpointer:
    """The files of one run in its folder.

    One process keeps its latest checkpoint in a file. Several keep it in a folder, each its part, and any number of
    processes resumes from either.

    Attributes:
        latest: the latest checkpoint of one process.
        best: the weights with the best validation score so far.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingError(f"{folder}: cannot be created ({error.strerror}); give another `output`") from None
        self.folder = folder
        self.latest = folder / "checkpoint.safetensors"
        self.best = folder / "best.safetensors"
        if current_group().is_first:
            for partial in folder.glob(".*.partial"):  # left by a run that was killed
                remove(partial)

    @property
    def parts(self) -> list[Path]:
        """The folders of checkpoints that several processes wrote, the latest last."""
        return sorted(self.folder.glob("checkpoint-*"))

    @property
    def exists(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return self.latest.exists() or bool(self.parts)

    def save(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Replace the latest checkpoint. `state` has the number of the `step`.

        Raises:
            OpenbookError: as `write_checkpoint`.
        """
        write_checkpoint(self.latest, tensors, state)
        for part in self.parts:
            remove(part)

    def save_best(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Replace the weights with the best score; in a group, the first process writes.

        Raises:
            OpenbookError: as `write_checkpoint`.
        """
        group = current_group()
        group.together(lambda: write_checkpoint(self.best, tensors, state) if group.is_first else None)

    def finish(self) -> None:
        """Wait until what `save` was given is on the disk."""

    def restore(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """Fill the tensors from the latest checkpoint, and return its state.

        Raises:
            OpenbookError: it is damaged or incomplete, or of another model.
        """
        if self.parts:
            latest = self.parts[-1]
            if not self.latest.exists() or read_state(self.latest)["step"] < state_of_parts(latest)["step"]:
                return read_parts(latest, tensors)
        return restore_tensors(self.latest, tensors)

    def clear(self) -> None:
        """Delete all files, when a run ends or starts over."""
        for path in (self.latest, self.best, *self.parts):
            remove(path)


def remove(path: Path) -> None:
    """Delete a file, or a folder with all that is in it; nothing where there is none."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
