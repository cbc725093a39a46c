"""Arrays on their way to a device and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..devices import cuda_status, on_cuda
from ..errors import ArgumentError, DtypeError
from . import _check
from ._placement import copied_to, device_array, errors_of_the_device, fetched, given_back, needs_cuda, working


def to_device(array: Any, device: int = 0) -> Any:
    """Copy an array to a CUDA device.

    Parameters
    ----------
    array : array of numbers, of any library
    device : int
        The device's number, as the driver counts.

    Returns
    -------
    cupy.ndarray, or torch.Tensor where there is no CuPy
        C-contiguous; ``array`` itself if it lives on that device already.

    Raises
    ------
    TargetUnavailableError
        CUDA cannot be used here; with what is missing.
    DtypeError, ArgumentError
        It is no array of numbers; there is no such device; it lives on another device.
    DeviceMemoryError
        The device's memory is full.
    """
    if not _check.integer(device) or device < 0:
        raise ArgumentError(f"device: expected the number of a device, at least 0, got {device!r}")
    needs_cuda(f"device: cuda:{device}")
    if device >= cuda_status().devices:
        raise ArgumentError(
            f"device: expected a number below {cuda_status().devices}, of a device that there is, got {device}"
        )
    with errors_of_the_device():
        if on_cuda(array):
            place = device_array("array", array).device
            if place != device:
                raise ArgumentError(f"array: expected one of the host or on cuda:{device}, got one on cuda:{place}")
            return array
        values = to_host(array)
        if values.dtype.kind not in "biuf":
            raise DtypeError(f"array: expected numbers, got {values.dtype}")
        return given_back(copied_to(int(device), values.astype(values.dtype.newbyteorder("="), copy=False)))


def to_host(array: Any) -> np.ndarray[Any, Any]:
    """The array as NumPy's: itself if it is one, without a copy if it is on the host already.

    Raises
    ------
    TargetUnavailableError
        It lives on a CUDA device, which cannot be used here; with what is missing.
    DtypeError
        It is no array.
    DeviceError
        The device failed before its work was done.
    """
    if isinstance(array, np.ndarray):
        return array
    if on_cuda(array):
        needs_cuda("array: lives on a CUDA device, which")
        with errors_of_the_device():
            there = device_array("array", array)
            with working(there, [there]):
                return fetched(there)  # type: ignore[no-any-return]
    if not hasattr(array, "__array__"):
        raise DtypeError(f"array: expected an array, got {type(array).__name__}")
    return np.asarray(array)
