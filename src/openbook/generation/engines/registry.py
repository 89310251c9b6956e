"""The engines by name. Each is imported when it is opened, so nobody waits for another one."""

from openbook.errors import OpenbookError
from openbook.generation.engines.engine import Engine
from openbook.transformer.transformer import Transformer

ENGINES = ("torch", "onnx")
"""PyTorch, on any device; ONNX Runtime, on CPUs."""


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
    from openbook.generation.engines.torch_engine import TorchEngine

    return TorchEngine(model)
