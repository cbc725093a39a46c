"""Libraries whose arrays are taken and made: CuPy, PyTorch, and where Numba simulates a GPU, the host's memory itself.

A result belongs to the library of the call's first array, on whose current stream the kernels run: its allocator then knows
which memory is still in use.  Arrays of other libraries (Numba, JAX, …) are read through DLPack, or where they do not know it
through their ``__cuda_array_interface__``; results beside them are CuPy's, or PyTorch's where there is no CuPy.

NOT YET RUN ON HARDWARE, but for ``Simulated``: written against CuPy 13 and PyTorch 2.

Sources: Numba documentation, "CUDA Array Interface (Version 3)"; DLPack, "Python Specification".
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np

from .device_array import DeviceArray, Shape, wrapped


class Missing(Exception):
    """No library that could hold an array on a device is installed."""


class Cupy:
    """Arrays of CuPy; ``module`` is it."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def empty(self, shape: Shape, dtype: np.dtype[Any], device: int) -> Any:
        with self.module.cuda.Device(device):
            return self.module.empty(shape, dtype)

    def device_of(self, array: Any) -> int:
        return int(array.device.id)

    def stream(self, device: int) -> int:
        """The handle of the current stream."""
        with self.module.cuda.Device(device):
            return int(self.module.cuda.get_current_stream().ptr)

    def imported(self, array: Any) -> Any:
        """An array of another library as one of this, in the same memory."""
        return self.module.from_dlpack(array) if hasattr(array, "__dlpack__") else self.shown(array)

    def shown(self, array: Any) -> Any:
        """One that has an interface for CUDA arrays alone."""
        return self.module.asarray(array)


class Torch(Cupy):
    """Tensors of PyTorch."""

    def empty(self, shape: Shape, dtype: np.dtype[Any], device: int) -> Any:
        return self.module.empty(shape, dtype=getattr(self.module, dtype.name), device=f"cuda:{device}")

    def device_of(self, array: Any) -> int:
        return int(array.device.index)

    def stream(self, device: int) -> int:
        return int(self.module.cuda.current_stream(device).cuda_stream)

    def shown(self, array: Any) -> Any:
        return self.module.as_tensor(array, device="cuda")


class Simulated:
    """Stand-ins for arrays on a device, where Numba simulates it."""

    def empty(self, shape: Shape, dtype: np.dtype[Any], device: int) -> Any:
        return SimulatedArray(np.empty(shape, dtype))

    def device_of(self, array: Any) -> int:
        return 0

    def stream(self, device: int) -> int:
        return 0

    def imported(self, array: Any) -> Any:
        raise Missing("in the simulator an array needs __cuda_array_interface__")


class Nowhere(Simulated):
    """Arrays without memory, for rehearsals: at addresses as allocators of devices give them, far from each other."""

    addresses = count(1 << 40, 1 << 40)

    def empty(self, shape: Shape, dtype: np.dtype[Any], device: int) -> Any:
        interface = {"shape": shape, "typestr": dtype.str, "data": (next(self.addresses), False), "version": 3}
        return SimpleNamespace(shape=shape, dtype=dtype, __cuda_array_interface__=interface)


class SimulatedArray:
    """An array that says that it is on device 0, in the host's memory; ``host`` is the same memory as NumPy has it."""

    def __init__(self, host: np.ndarray[Any, Any]) -> None:
        self.host, self.shape, self.dtype = host, host.shape, host.dtype

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.host.__array_interface__, "version": 3, "stream": None}

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0  # kDLCUDA

    def __dlpack__(self, **keywords: Any) -> Any:
        return self.host.__dlpack__()

    def reshape(self, shape: Shape) -> SimulatedArray:
        return SimulatedArray(self.host.reshape(shape))


OTHERS = "cupy", "torch"
"""What makes arrays beside those of libraries that are not among them; the first that is installed."""


@cache
def library(name: str) -> Any:
    """The library called ``name``, which is imported if it has not been."""
    return {"cupy": Cupy, "torch": Torch}[name](import_module(name))


def preferred() -> Any:
    """Who makes arrays where no array says by whom.

    Raises
    ------
    Missing
        There is none.
    """
    from .asm import SIMULATED
    from .launch import rehearsed

    if rehearsed.get() is not None:
        return Nowhere()
    return Simulated() if SIMULATED else _installed()


@cache
def _installed() -> Any:
    for name in OTHERS:
        if find_spec(name) is not None:
            return library(name)
    raise Missing('neither CuPy (cupy-cuda13x, of the extra "cuda13") nor PyTorch is installed, to hold arrays on a device')


def on_device(array: Any) -> DeviceArray:
    """An array of any library that lives on a CUDA device."""
    if isinstance(array, DeviceArray):
        return array
    name = type(array).__module__.partition(".")[0]
    if name in OTHERS and name in sys.modules:
        return wrapped(array, library(name))
    own = preferred()
    if not isinstance(array, SimulatedArray):
        array = own.imported(array)
    return wrapped(array, own)


def given_back(array: DeviceArray) -> Any:
    """The library's own array with this memory: the one it was made of, in the shape that it has now."""
    return array.owner if tuple(array.owner.shape) == array.shape else array.owner.reshape(array.shape)
