"""Checkpoints of several processes: a folder in which each writes its part, by torch.distributed.checkpoint.

The parts are safetensors files that say which part of which tensor they hold, so that any number of processes reads
them, and nothing is unpickled. The folder has its name only once it is complete.
"""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import async_save

from openbook.errors import OpenbookError
from openbook.model_file.atomic import atomic_write
from openbook.model_file.torch_dtypes import HEADER_NAMES
from openbook.model_file.writing import TensorWriter
from openbook.training.checkpoint import Checkpointer, as_metadata, remove
from openbook.training.checkpoint_parts import STATE
from openbook.training.distributed.gathering import write_gathered
from openbook.training.group import current_group


class GroupCheckpointer(Checkpointer):
    """See `Checkpointer`: all processes call its methods together, and write while training goes on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # Of its own, because it is used from a thread while gradients travel in the other.
        self._processes = dist.new_group(backend="gloo")
        self._writing: Future[Any] | None = None
        self._named = threading.Event()  # set once the folder has its name, or never will
        self._problem: BaseException | None = None

    def save(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Copy the tensors, and begin to write them; the checkpoint before this one is complete when it returns.

        Raises:
            OpenbookError: that one could not be written by some process.
        """
        self.finish()
        partial = self.folder / f".checkpoint-{state['step']:012}.partial"
        writer = HuggingFaceStorageWriter(str(partial), save_distributed=True)
        writing = async_save(dict(tensors), storage_writer=writer, process_group=self._processes)
        assert isinstance(writing, Future)
        self._writing = writing
        self._named = threading.Event()
        if current_group().is_first:
            writing.add_done_callback(lambda written: self._complete(written, partial, state))

    def save_best(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        if not current_group().sharded:
            super().save_best(tensors, state)
            return
        specs = {name: (HEADER_NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}

        def write(parts: Iterator[tuple[str, Tensor]]) -> None:
            with atomic_write(self.best) as file:
                writer = TensorWriter(file, as_metadata(state), specs)
                for _, tensor in parts:
                    writer.write(tensor)
                writer.close()

        write_gathered(tensors, write)

    def finish(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            current_group().together(lambda: self._check(writing))

    def _check(self, writing: "Future[Any]") -> None:
        """Raise what went wrong while a checkpoint was written."""
        problem = writing.exception()
        if current_group().is_first:
            self._named.wait()
            problem = problem or self._problem
        if isinstance(problem, CheckpointException):
            rank, (problem, _) = min(problem.failures.items())
            raise OpenbookError(f"rank {rank}: the checkpoint cannot be written ({_reason(problem)}); make room")
        if problem is not None:
            raise OpenbookError(f"{self.folder}: the checkpoint cannot be written ({_reason(problem)})")

    def _complete(self, writing: "Future[Any]", partial: Path, state: dict[str, Any]) -> None:
        """Give the folder its name, once all processes have written; older checkpoints go. In a thread of the first."""
        try:
            if writing.exception() is not None:
                remove(partial)
                return
            sizes = {path.name: path.stat().st_size for path in partial.iterdir()}
            with atomic_write(partial / STATE) as file:
                file.write(json.dumps({"state": state, "files": sizes}).encode())
            before, complete = self.parts, self.folder / partial.stem.lstrip(".")
            if complete in before:  # the run resumed from this very step
                remove(partial)
            else:
                partial.rename(complete)
            for path in (self.latest, *(each for each in before if each != complete)):
                remove(path)
        except (OSError, OpenbookError) as error:
            self._problem = error
        finally:
            self._named.set()


def _reason(problem: BaseException) -> str:
    said = (problem.strerror if isinstance(problem, OSError) else None) or str(problem) or type(problem).__name__
    return said.splitlines()[0]
