"""The engines by name. Each is imported when it is opened, so nobody waits for another one, nor for PyTorch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openbook.errors import OpenbookError, SettingError
from openbook.generation.engines.accelerators import may_have_accelerator
from openbook.generation.engines.engine import Engine
from openbook.model_file.opening import ModelFile

if TYPE_CHECKING:
    from openbook.transformer.transformer import Transformer

ENGINES = ("auto", "native", "torch", "onnx")
"""Native is our own C++, on CPUs; torch is PyTorch, on any device; onnx is ONNX Runtime, on CPUs. Auto is native where
it is compiled and the model runs on the CPU, torch otherwise."""


@dataclass(frozen=True)
class EngineChoice:
    """The engine that decodes, why it is this one, and the problem if that is because native does not work here."""

    name: str
    why: str
    problem: OpenbookError | None = None


def check_engine(name: str) -> None:
    """Raise OpenbookError if there is no engine of this name."""
    if name not in ENGINES:
        raise SettingError(f"`engine` {name}: must be one of {', '.join(ENGINES)}")


def is_surely_cpu(device: str) -> bool:
    """Whether a device of this name (auto, cpu, cuda …) is the processor, as far as one knows without PyTorch."""
    return device == "cpu" or (device == "auto" and not may_have_accelerator())


def choose_engine(name: str, device: str) -> EngineChoice:
    """The engine of this name; for `auto` the one that suits the device.

    Args:
        name: one of `ENGINES`.
        device: where the model is: cpu, cuda …

    Raises:
        OpenbookError: there is no such engine.
    """
    check_engine(name)
    if name != "auto":
        return EngineChoice(name, "it was asked for")
    if device != "cpu":
        return EngineChoice("torch", f"the model runs on {device}, and native runs on CPUs")
    from openbook.generation.engines.native.library import load_library

    try:
        load_library()
    except OpenbookError as error:
        return EngineChoice("torch", str(error), error)
    return EngineChoice("native", "it is compiled, and the model runs on the CPU")


def choose_device_and_engine(device: str = "auto", engine: str = "auto") -> tuple[str, EngineChoice]:
    """Where a model computes, by PyTorch's name of it, and what decodes.

    Args:
        device: auto, cpu, cuda or mps.
        engine: one of `ENGINES`.

    Raises:
        OpenbookError: this machine has no such device, or there is no such engine.
    """
    check_engine(engine)
    place = "cpu"
    if not is_surely_cpu(device):
        from openbook.transformer.device import choose_device

        place = str(choose_device(device))
    return place, choose_engine(engine, place)


def open_engine(name: str, model: "Transformer | ModelFile") -> Engine:
    """The engine of this name, opened with a model.

    Args:
        name: native, torch or onnx.
        model: a PyTorch module or, for native, a model file.

    Raises:
        OpenbookError: there is no such engine, or it cannot take the model.
    """
    check_engine(name)
    if name == "native":
        from openbook.generation.engines.native.engine import NativeEngine

        if isinstance(model, ModelFile):
            from openbook.generation.engines.native import from_file

            return NativeEngine(model.metadata.architecture, from_file.as_weights(model))
        from openbook.generation.engines.native import from_torch

        return NativeEngine(model.architecture, from_torch.as_weights(model))
    assert not isinstance(model, ModelFile), "only native reads a model file"
    if name == "onnx":
        from openbook.generation.engines.onnx_engine import OnnxEngine

        return OnnxEngine(model)
    from openbook.generation.engines.torch_engine import TorchEngine

    return TorchEngine(model)
