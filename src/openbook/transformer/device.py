"""Where to compute."""

import torch

from openbook.errors import SettingError


def choose_device(name: str) -> torch.device:
    """The device of this name; `auto` is CUDA, else MPS, else the CPU.

    Raises:
        OpenbookError: there is no such device here.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kinds = [kind for kind, is_available in available.items() if is_available]
    if name == "auto":
        return torch.device(kinds[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in kinds:
        offered = ", ".join(["auto", *kinds])
        raise SettingError(f"`device` {name}: is not on this machine, or not in its PyTorch; there is {offered}")
    return device
