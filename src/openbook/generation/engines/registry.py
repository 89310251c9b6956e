"""The engines by name. Each is imported when it is opened, so nobody waits for another one."""

from openbook.errors import OpenbookError
from openbook.generation.engines.engine import Engine
from openbook.transformer.transformer import Transformer

ENGINES = ("torch", "native", "onnx")
"""PyTorch, on any device; our own C++, and ONNX Runtime, on CPUs."""


def check_engine(name: str) -> None:
    """Raise OpenbookError if there is no engine of this name."""
    if name not in ENGINES:
        raise OpenbookError(f"engine {name}: there are {', '.join(ENGINES)}")


def open_engine(name: str, model: Transformer) -> Engine:
    """The engine of this name, opened with a model.

    Raises:
        OpenbookError: there is no such engine, or it cannot take the model.
    """
    check_engine(name)
    if name == "onnx":
        from openbook.generation.engines.onnx_engine import OnnxEngine

        return OnnxEngine(model)
    if name == "native":
        from openbook.generation.engines.native.engine import NativeEngine
        from openbook.generation.engines.native.from_torch import as_weights

        return NativeEngine(model.architecture, as_weights(model))
    from openbook.generation.engines.torch_engine import TorchEngine

    return TorchEngine(model)
