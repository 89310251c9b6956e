"""A run on disk: everything that the next step depends on, in one safetensors file that is replaced as a whole.

No pickle: tensors are tensors, the rest is JSON in the header.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from openbook.errors import OpenbookError
from openbook.model_file.writing import write_tensors


def write_checkpoint(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and JSON facts to `path`, whole or not at all.

    Raises:
        OpenbookError: the disk is full or the folder may not be written.
    """
    write_tensors(path, {"facts": json.dumps(facts)}, tensors)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_checkpoint` wrote.

    Raises:
        OpenbookError: the file is not one of those.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            # A clone, so that training does not write into the file's map.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, facts  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise OpenbookError(f"{path}: is no checkpoint ({error}); delete it and train again") from None


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that learn, by name; the tensors themselves, not copies."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def restore_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put back what `trained_weights` gave."""
    for name, weight in trained_weights(model).items():
        weight.copy_(tensors[name])


class Keeper:
    """The files of one run in its folder: the newest checkpoint, and the best weights so far."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OpenbookError(f"{folder}: cannot be made ({error.strerror}); give another -o") from None
        self.checkpoint = folder / "checkpoint.safetensors"
        self.best = folder / "best.safetensors"
        for half_written in folder.glob(".*.partial"):  # by a run that was killed
            half_written.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove both, when the run is over or begins anew."""
        self.checkpoint.unlink(missing_ok=True)
        self.best.unlink(missing_ok=True)
