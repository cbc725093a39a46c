"""Whether CUDA can be used here: asked without creating a CUDA context, and of nothing before somebody wants to know."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

NEEDED_VERSION = 13000
"""Of CUDA, in a driver: the extra "cuda13" builds kernels for it."""
NEEDED_CAPABILITY = 8, 0
"""Of a device: copies past the registers and products of TF32 came with it."""
NEEDED_PACKAGES = {"numba_cuda": "numba-cuda", "cuda.core": "cuda-core"}
"""Module → the package of the extra "cuda13" that has it."""

VERSION_OF_DRIVER, COUNT = "cuDriverGetVersion", "cuDeviceGetCount"
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


@dataclass(frozen=True)
class CudaStatus:
    """Whether CUDA kernels can run here, how many devices the driver has, and if they cannot, why."""

    available: bool
    devices: int
    reason: str


@cache
def cuda_status() -> CudaStatus:
    """Ask the driver, once."""
    if simulated():
        return CudaStatus(True, 1, "")
    devices, refused = _devices()
    reason = "; ".join(each for each in (refused, missing_packages()) if each)
    return CudaStatus(not reason, devices, reason)


def missing_packages() -> str:
    """What of the extra "cuda13" is not installed; empty: all is there."""
    missing = [package for module, package in NEEDED_PACKAGES.items() if not _installed(module)]
    return f'the extra "cuda13" is not installed (missing: {", ".join(missing)})' if missing else ""


def simulated() -> bool:
    """Whether Numba simulates a GPU in this process, which then has no other."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def _devices() -> tuple[int, str]:
    """(devices, what is missing); none of the driver's answers needs a context."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return 0, f"there is no NVIDIA driver ({library} was not found)"
    if code := driver.cuInit(0):
        return 0, f"the NVIDIA driver answers cuInit with error {code}"
    version, devices = _asked(driver, VERSION_OF_DRIVER), _asked(driver, COUNT)
    if version < NEEDED_VERSION:
        return devices, f"the NVIDIA driver is too old: it knows CUDA {_named(version)}, needed is {_named(NEEDED_VERSION)}"
    if devices < 1:
        return 0, "the NVIDIA driver finds no device"
    found = tuple(_asked(driver, "cuDeviceGetAttribute", attribute, 0) for attribute in (MAJOR, MINOR))
    if found < NEEDED_CAPABILITY:
        return devices, f"device 0 has compute capability {found[0]}.{found[1]}, needed is 8.0"
    return devices, ""


def _asked(driver: Any, function: str, *arguments: int) -> int:
    """The number that a function of the driver gives; 0 if it gives an error."""
    answer = ctypes.c_int(0)
    return 0 if getattr(driver, function)(ctypes.byref(answer), *arguments) else answer.value


def _named(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def on_cuda(array: Any) -> bool:
    """Whether ``array`` lives on a CUDA device, without importing the library that it is of."""
    if hasattr(array, "__dlpack_device__"):
        return int(array.__dlpack_device__()[0]) == 2  # kDLCUDA of the DLPack standard
    try:
        return hasattr(array, "__cuda_array_interface__")
    except Exception:  # noqa: BLE001 - libraries raise errors of their own where it is not defined for this array
        return False
