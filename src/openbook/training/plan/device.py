"""Where to compute."""

import torch

from openbook.errors import OpenbookError


def choose_device(wanted: str) -> torch.device:
    """The device of this name; `auto` is CUDA, else MPS, else the CPU.

    Raises:
        OpenbookError: there is no such device here.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(kind for kind, is_here in here.items() if is_here))
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    if device is None or not here.get(device.type):
        offered = ", ".join(["auto", *(kind for kind, is_here in here.items() if is_here)])
        raise OpenbookError(f"--device {wanted}: is not on this machine, or not in its PyTorch; there is {offered}")
    return device
