"""Graphs in ONNX Runtime: exported, opened, and run on buffers that stay where they are."""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openbook.errors import OpenbookError, SettingError
from openbook.generation.engines.onnx_graph import OPSET, Example

_DTYPES = {torch.float32: np.float32, torch.int64: np.int64, torch.bool: np.bool_}


def open_graph(module: nn.Module, example: Example, threads: int) -> Any:
    """Export a module as a graph into a temporary folder and open it as an ONNX Runtime session.

    Raises:
        OpenbookError: a package is not installed, or the module cannot be exported.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise OpenbookError("the engine onnx needs more packages: pip install 'openbook[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, torch.get_num_threads() // threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    arguments, dynamic_shapes = example
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        with _quiet():
            try:
                program = torch.onnx.export(
                    module, arguments, dynamo=True, dynamic_shapes=dynamic_shapes, opset_version=OPSET, verbose=False
                )
                assert program is not None
                program.save(path, external_data=True)
            except Exception as error:  # its many parts raise anything; the message names what they do not know
                reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
                raise SettingError(
                    f"this architecture cannot be written as an ONNX graph ({reason}); take `engine`=torch"
                ) from error
        # A scaled product has no kernel for a single query, and takes more than twice as long.
        return onnxruntime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=["MatMulScaleFusion"]
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's messages about packages that are not needed."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def run_graph(runtime: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of a graph for its inputs, in order. Only tensors that are not contiguous are copied."""
    named = {each.name: value.contiguous().numpy() for each, value in zip(runtime.get_inputs(), inputs, strict=True)}
    return [torch.from_numpy(each) for each in runtime.run(None, named)]


class BoundGraph:
    """A graph whose inputs and outputs are bound to memory; what has not moved is not bound again."""

    def __init__(self, runtime: Any) -> None:
        self._runtime, self._binding = runtime, runtime.io_binding()
        self._slots = [(each.name, self._binding.bind_input) for each in runtime.get_inputs()]
        self._slots += [(each.name, self._binding.bind_output) for each in runtime.get_outputs()]
        self._bound: list[Tensor] | list[None] = [None] * len(self._slots)

    def bind(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Bind inputs and outputs, in order; an output may be an input too."""
        assert all(each.is_contiguous() for each in outputs), "outputs are written as one block"
        tensors = [*(each.contiguous() for each in inputs), *outputs]
        for (name, bind), new, old in zip(self._slots, tensors, self._bound, strict=True):
            if old is None or old.data_ptr() != new.data_ptr() or old.shape != new.shape:
                bind(name, "cpu", 0, _DTYPES[new.dtype], new.shape, new.data_ptr())
        self._bound = tensors  # bound by address, so they have to stay alive

    def run(self) -> None:
        """Run on the bound memory."""
        self._runtime.run_with_iobinding(self._binding)
