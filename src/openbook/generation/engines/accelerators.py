"""Whether this machine may have a device that PyTorch computes on besides the processor, found out without PyTorch."""

import platform
import sys
from ctypes.util import find_library
from pathlib import Path

_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/proc/driver/nvidia/version")
"""What the drivers of NVIDIA and AMD put into the system; on Windows' own Linux, what stands for either."""


def may_have_accelerator() -> bool:
    """False where there is surely none; where there may be one, PyTorch knows."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return find_library("nvcuda") is not None
    return any(Path(driver).exists() for driver in _DRIVERS)
