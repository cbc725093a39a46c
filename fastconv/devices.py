"""Devices: whether CUDA can be used here, and arrays on their way to and from a device.

Nothing here runs before it is asked for, and asking creates no CUDA context.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from .errors import DtypeError, TargetUnavailableError


@dataclass(frozen=True)
class CudaStatus:
    """Whether CUDA kernels can run here, how many devices the driver has, and if they cannot, why."""

    available: bool
    devices: int
    reason: str


@cache
def cuda_status() -> CudaStatus:
    """Ask the driver, once."""
    devices, missing = _count_devices()
    unused = f"the public calls do not reach the CUDA kernels yet (the driver has {devices} device(s))"
    return CudaStatus(False, devices, missing or unused)


def _count_devices() -> tuple[int, str]:
    """(devices, what is missing); ``cuInit`` and the count start no context."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return 0, f"there is no NVIDIA driver ({library} was not found)"
    count = ctypes.c_int(0)
    for name, arguments in (("cuInit", (0,)), ("cuDeviceGetCount", (ctypes.byref(count),))):
        if code := getattr(driver, name)(*arguments):
            return 0, f"the NVIDIA driver answers {name} with error {code}"
    return count.value, ""


def on_cuda(array: Any) -> bool:
    """Whether ``array`` lives on a CUDA device, without importing the library that it is of."""
    if hasattr(array, "__dlpack_device__"):
        return int(array.__dlpack_device__()[0]) == 2  # kDLCUDA of the DLPack standard
    try:
        return hasattr(array, "__cuda_array_interface__")
    except Exception:  # noqa: BLE001 - libraries raise errors of their own where it is not defined for this array
        return False


def to_device(array: Any, device: int = 0) -> Any:
    """Copy an array to a CUDA device.

    Raises
    ------
    TargetUnavailableError
        Always in this version, with what is missing.
    """
    raise TargetUnavailableError(f"device: cuda:{device} cannot be used: {cuda_status().reason}")


def to_host(array: Any) -> np.ndarray[Any, Any]:
    """The array as NumPy's: itself if it is on the host already, no copy.

    Raises
    ------
    TargetUnavailableError
        It lives on a CUDA device, from which this version cannot copy.
    DtypeError
        It is no array.
    """
    if isinstance(array, np.ndarray):
        return array
    if on_cuda(array):
        raise TargetUnavailableError(f"array: it lives on a CUDA device, which cannot be read: {cuda_status().reason}")
    if not hasattr(array, "__array__"):
        raise DtypeError(f"array: expected an array, got {type(array).__name__}")
    return np.asarray(array)
