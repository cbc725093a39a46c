"""Copies between the host's memory and a device's, where arrays are ``DeviceArray``.

NOT YET RUN ON HARDWARE: written against cuda.bindings 13 on a machine without a GPU.

Source: CUDA Driver API, "Memory Management".
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .asm import SIMULATED
from .launch import rehearsed, stream_here

Host = np.ndarray[Any, Any]


def fill(array: Any, values: Host) -> None:
    """Copy ``values``, C-contiguous and of the same shape and dtype, to a device; the host's memory may then be reused."""
    if values.nbytes:
        move(array.address, values.ctypes.data, values.nbytes, "cuMemcpyHtoDAsync")


def fetch(array: Any, values: Host) -> None:
    """Copy ``array`` into ``values``, C-contiguous and of the same shape and dtype, and wait until it is there."""
    source = array.contiguous()
    if rehearsed.get() is not None:
        values.fill(0)
    elif values.nbytes:
        move(values.ctypes.data, source.address, values.nbytes, "cuMemcpyDtoHAsync")


def clear(array: Any) -> None:
    """Set every byte of ``array``, C-contiguous, to zero, behind what is under way on the current stream."""
    if array.size == 0 or rehearsed.get() is not None:
        return
    size = array.size * array.itemsize
    if SIMULATED:
        ctypes.memset(array.address, 0, size)
        return
    from cuda.bindings import driver

    (status,) = driver.cuMemsetD8Async(array.address, 0, size, stream_here().handle)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"cuMemsetD8Async: {status.name}")


def move(target: int, source: int, size: int, copy: str) -> None:
    """Copy on the current stream, behind what is under way there, and wait."""
    if rehearsed.get() is not None:
        return
    if SIMULATED:
        ctypes.memmove(target, source, size)
        return
    from cuda.bindings import driver

    stream = stream_here()
    for name, arguments in ((copy, (target, source, size, stream.handle)), ("cuStreamSynchronize", (stream.handle,))):
        (status,) = getattr(driver, name)(*arguments)
        if status != driver.CUresult.CUDA_SUCCESS:
            raise RuntimeError(f"{name}: {status.name}")
