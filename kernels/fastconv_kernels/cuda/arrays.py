"""Arrays of any library as kernels see them: an address, a shape, strides in elements.

A GPU array says them by ``__cuda_array_interface__`` (CuPy, PyTorch, Numba, and what this package makes).  In the simulator
the host's memory is the device's, and NumPy's arrays are taken too.

Source: Numba documentation, "CUDA Array Interface (Version 3)".
"""

from __future__ import annotations

import ctypes
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .asm import SIMULATED


class View(NamedTuple):
    """A strided array somewhere in the device's memory; ``strides`` count elements."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def contiguous(self) -> bool:
        """Whether its elements lie one behind the other in the order of its axes."""
        return self.strides == c_strides(self.shape) or self.size == 0

    def part(self, *index: int) -> View:
        """What ``array[index]`` is."""
        skipped = sum(i * stride for i, stride in zip(index, self.strides, strict=False))
        address = self.address + skipped * self.dtype.itemsize
        return View(address, self.shape[len(index) :], self.strides[len(index) :], self.dtype)

    def broadcast(self, leading: tuple[int, ...], inner: int) -> View:
        """With ``leading`` axes in place of its own before the last ``inner``: strides of zero where elements are repeated."""
        own = len(self.shape) - inner
        shape, strides = self.shape[:own], self.strides[:own]
        missing = len(leading) - own
        spread = [0] * missing + [0 if size == 1 else stride for size, stride in zip(shape, strides, strict=True)]
        return View(self.address, (*leading, *self.shape[own:]), (*spread, *self.strides[own:]), self.dtype)

    def memory(self) -> np.ndarray[Any, Any]:
        """Simulator only: the elements from the first to the last as a flat array of the host's."""
        reach = 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        count = reach if self.size else 0
        buffer = (ctypes.c_char * (count * self.dtype.itemsize)).from_address(self.address)
        return np.frombuffer(memoryview(buffer), self.dtype)


def c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of an array without gaps, last axis first."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def view(array: Any) -> View:
    """``array`` as kernels see it."""
    if isinstance(array, View):
        return array
    if hasattr(array, "address"):  # what this package makes says it without a dictionary
        dtype = array.dtype
        return View(array.address, array.shape, tuple(stride // dtype.itemsize for stride in array.strides), dtype)
    interface = array.__array_interface__ if SIMULATED and isinstance(array, np.ndarray) else array.__cuda_array_interface__
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    strides = interface.get("strides")
    steps = c_strides(shape) if strides is None else tuple(stride // dtype.itemsize for stride in strides)
    return View(interface["data"][0], shape, steps, dtype)
