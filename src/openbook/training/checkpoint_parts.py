"""Reading the checkpoints that several processes wrote, with any number of processes.

Such a checkpoint is a folder of safetensors files, which say what part of which tensor they hold, and a state.
"""

import json
import os
import warnings
from pathlib import Path
from typing import Any

from torch import Tensor

from openbook.errors import OpenbookError
from openbook.training.group import current_group

STATE = "state.json"


def state_of_parts(folder: Path) -> dict[str, Any]:
    """The state in a checkpoint's folder.

    Raises:
        OpenbookError: it is damaged, or one of its files is missing or cut short.
    """
    try:
        content = json.loads((folder / STATE).read_text("utf-8"))
        for name, size in content["files"].items():
            path = folder / name
            if not path.exists() or path.stat().st_size != size:
                raise OpenbookError(
                    f"{path}: is missing or not whole, so the checkpoint cannot be read; restore it, or delete "
                    f"{folder} and train again"
                )
        state: dict[str, Any] = content["state"]
        int(state["step"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OpenbookError(f"{folder}: is not a checkpoint ({error}); delete it and train again") from None
    return state


def read_parts(folder: Path, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Fill the tensors, or this process's parts of them, from a checkpoint's folder; returns its state.

    Raises:
        OpenbookError: as `state_of_parts`, or it is of another model.
    """
    # Imported here, because it takes a while, and most checkpoints are of one process.
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    state = state_of_parts(folder)
    alone = current_group().size == 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is one process only
            reader = HuggingFaceStorageReader(os.fspath(folder))
            load(dict(tensors), storage_reader=reader, no_dist=alone)
    except (CheckpointException, RuntimeError, ValueError, KeyError, OSError) as error:
        raise OpenbookError(f"{folder}: is of another model, or damaged; delete it and train again") from error
    return state
