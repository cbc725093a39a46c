"""Starting a kernel: arrays go in as raw pointers, numbers as they are.

    start(kernel, blocks, (c, a, b), (geometry, epilogue))

On a GPU the kernel is built for the device at its first launch and kept for as long as the process lives; a launch then takes
half a microsecond of the host's time.  In the simulator the function itself runs.

NOT YET RUN ON HARDWARE: written against cuda.core 1.2 on a machine without a GPU.  The first run of a kernel compares its
numbers with the reference before it is timed.

Source: cuda.core, ``launch``; CUDA Driver API, ``cuKernelSetAttribute``.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import Any

import numpy as np

from .asm import SIMULATED
from .build import build

KEPT = 1024
"""Launches whose numbers are kept as they are passed: a network's layers come again."""

current_stream = ContextVar("fastconv_cuda_stream", default=None)
"""The stream that kernels are started on; None: the device's default one, with which those of CuPy and PyTorch agree."""


class Rehearsal(list):
    """The kernels that would be started on a GPU of an ``architecture``: nothing needs a device then.

    ``launches`` has them with all that they would be started with.
    """

    def __init__(self, architecture: str = "") -> None:
        super().__init__()
        self.architecture = architecture
        self.launches: list[tuple[Any, ...]] = []

    def note(self, kernel, blocks, arrays, numbers):
        """Add one."""
        self.append(kernel)
        self.launches.append((kernel, blocks, tuple(arrays), tuple(numbers)))


rehearsed: ContextVar[Rehearsal | None] = ContextVar("fastconv_cuda_rehearsed", default=None)
"""What is told of kernels instead of their being started."""


@contextmanager
def on_stream(stream):
    """Start kernels on ``stream``, a ``cuda.core.Stream`` or an object with ``__cuda_stream__``, inside the ``with``."""
    token = current_stream.set(stream)
    try:
        yield
    finally:
        current_stream.reset(token)


@contextmanager
def working_on(device_id, stream=0, others=()):
    """Start kernels on a device and a stream of it, behind what ``others`` have under way; streams are handles.

    The thread's current device is afterwards what it was.
    """
    if SIMULATED or rehearsed.get() is not None:
        yield
        return
    from cuda.bindings import driver
    from cuda.core import Device, Stream

    status, before = driver.cuCtxGetCurrent()
    try:
        device = Device(device_id)
        device.set_current()
        chosen = Stream.from_handle(stream) if stream else device.default_stream
        for other in others:
            chosen.wait(Stream.from_handle(other))
        with on_stream(chosen):
            yield
    finally:
        if status == driver.CUresult.CUDA_SUCCESS:
            driver.cuCtxSetCurrent(before)


def stream_here():
    """The stream that kernels are started on here."""
    return current_stream.get() or cuda_core().Device().default_stream


def start(kernel, blocks, arrays, numbers):
    """Start ``kernel`` on ``blocks`` blocks: first its ``arrays``, each a ``View`` or None, then its ``numbers``."""
    if (noted := rehearsed.get()) is not None:
        noted.note(kernel, blocks, arrays, numbers)
    elif SIMULATED:
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray  # which is neither copied in nor out

        memories = [FakeCUDAArray(np.zeros(0, "float32") if array is None else array.memory()) for array in arrays]
        rounded = [
            type(given)(*(kind(number) for kind, number in zip(kinds, given, strict=True)))
            if isinstance(given, tuple)
            else kinds(given)
            for kinds, given in zip(kernel.kinds, numbers, strict=True)
        ]
        kernel.function[blocks, kernel.threads, 0, kernel.shared_bytes](*memories, *rounded)
    else:
        launch_built(kernel, blocks, [0 if array is None else array.address for array in arrays], numbers)


def launch_built(kernel, blocks, addresses, numbers):
    """On the current device."""
    core = cuda_core()
    device = core.Device()
    stream = current_stream.get() or device.default_stream
    core.launch(stream, config(kernel, blocks), loaded(kernel, device.device_id), *addresses, *flat(kernel, numbers))


@cache
def cuda_core():
    """The library, imported when it is first needed."""
    import cuda.core

    return cuda.core


@lru_cache(KEPT)
def config(kernel, blocks):
    """How many blocks of which threads are started."""
    return cuda_core().LaunchConfig(grid=blocks, block=kernel.threads, shmem_size=kernel.shared_bytes)


@lru_cache(KEPT)
def flat(kernel, numbers):
    """The numbers as they are passed, 32 bits each: those of a named tuple are arguments of their own."""
    found = []
    for kinds, given in zip(kernel.kinds, numbers, strict=True):
        if isinstance(given, tuple):
            found += [kind(number) for kind, number in zip(kinds, given, strict=True)]
        else:
            found.append(kinds(given))
    return found


@cache
def loaded(kernel, device_id):
    """``kernel`` as the device ``device_id``, which must be the current one, runs it."""
    from cuda.core import Device, ObjectCode

    cubin = build(kernel, architecture(Device(device_id).compute_capability))
    code = ObjectCode.from_cubin(cubin.code).get_kernel(cubin.entry)
    allow_shared_memory(code, kernel.shared_bytes, device_id)
    return code


def is_hopper():
    """Whether the current device has the instructions of sm_90a."""
    if (rehearsal := rehearsed.get()) is not None:
        return rehearsal.architecture == "sm_90a"
    try:
        from cuda.core import Device

        return Device().compute_capability[0] == 9
    except Exception:  # noqa: BLE001 - no library, no driver, no device: each says so in an error of its own
        return False


def needs_hopper(problem):
    """Why the instructions of Hopper cannot compute ``problem`` here."""
    return () if SIMULATED or is_hopper() else ("the device is not of the generation Hopper, sm_90",)


def architecture(capability: tuple[int, int]) -> str:
    """What to build for: with the instructions that only this generation has, from Hopper on."""
    major, minor = capability
    return f"sm_{major}{minor}a" if major >= 9 else f"sm_{major}{minor}"


def allow_shared_memory(code, size, device_id):
    """Allow ``size`` bytes of dynamic shared memory: beyond 48 KB a kernel must ask, and cuda.core has no word for it."""
    from cuda.bindings import driver

    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    (status,) = driver.cuKernelSetAttribute(attribute, size, code.handle, driver.CUdevice(device_id))
    if status != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"the device refuses {size} bytes of shared memory for a block: {status.name}")
