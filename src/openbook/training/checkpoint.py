"""Checkpoints: everything that the next step depends on, in one safetensors file that is replaced as a whole.

There is no pickle: tensors are tensors, and the rest is JSON in the header.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from openbook.errors import OpenbookError, SettingError
from openbook.model_file.writing import write_tensors


def write_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors and a JSON state to `path`, whole or not at all.

    Raises:
        OpenbookError: the disk is full or the folder is not writable.
    """
    write_tensors(path, {"state": json.dumps(state)}, tensors)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state that `write_checkpoint` wrote.

    Raises:
        OpenbookError: the file is not a checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            # Cloned, because the tensors are views of the memory-mapped file and training writes to them.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, state  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise OpenbookError(f"{path}: is not a checkpoint ({error}); delete it and train again") from None


def trainable_weights(model: nn.Module) -> dict[str, Tensor]:
    """The trainable parameters by name; the tensors themselves, not copies."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def restore_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy the trainable parameters of `model` from `tensors`."""
    for name, weight in trainable_weights(model).items():
        weight.copy_(tensors[name])


class Checkpointer:
    """The files of one run in its folder.

    Attributes:
        latest: the latest checkpoint, to resume from.
        best: the weights with the best validation score so far.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingError(f"{folder}: cannot be created ({error.strerror}); give another `output`") from None
        self.latest = folder / "checkpoint.safetensors"
        self.best = folder / "best.safetensors"
        for partial in folder.glob(".*.partial"):  # left by a run that was killed
            partial.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete both files, when a run ends or starts over."""
        self.latest.unlink(missing_ok=True)
        self.best.unlink(missing_ok=True)
