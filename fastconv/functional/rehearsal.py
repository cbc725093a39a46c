"""Kernels for CUDA built ahead, on any machine: calls are rehearsed with arrays that have no memory, and what they would have
started is compiled.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from fastconv_kernels.cuda.device_array import DeviceArray, wrapped

from ..devices import NEEDED_CAPABILITY, missing_packages, simulated
from ..dispatch import using_device
from ..errors import ArgumentError, TargetUnavailableError


def nowhere(*shape: int, dtype: str = "float32") -> DeviceArray:
    """An array for a rehearsal."""
    from fastconv_kernels.cuda.libraries import Nowhere

    library = Nowhere()
    return wrapped(library.empty(shape, np.dtype(dtype), 0), library)


def rehearse(call: Callable[[], object], architecture: str) -> list[Any]:
    """The kernels that ``call`` would start, of arrays from ``nowhere``, on a GPU that need not be here."""
    from fastconv_kernels.cuda.launch import Rehearsal, rehearsed

    kernels = Rehearsal(architecture)
    token = rehearsed.set(kernels)
    try:
        # What is chosen for a GPU that is not here must not be remembered for one that is: each has a place of its own.
        with using_device(-1, int(re.sub(r"\D", "", architecture))):
            call()
    finally:
        rehearsed.reset(token)
    return list(dict.fromkeys(kernels))


@contextmanager
def building(kernels: Sequence[tuple[Any, str]]) -> Iterator[Iterator[int]]:
    """Compile kernels, each for an architecture, into the user's cache unless they are there: the place of each that is done.

    Compiling keeps one core busy.  Where processes can be forked, which then know the kernels, all cores take part.
    """
    count = min(len(kernels), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    if count < 2:
        yield (_build(kernels, place) for place in range(len(kernels)))
        return
    with get_context("fork").Pool(count, _receive, [kernels]) as pool:
        yield pool.imap_unordered(_build_received, range(len(kernels)))


_received: list[tuple[Any, str]] = []
"""What a forked process is to compile."""


def _receive(kernels: Sequence[tuple[Any, str]]) -> None:
    _received[:] = kernels


def _build_received(place: int) -> int:
    return _build(_received, place)


def _build(kernels: Sequence[tuple[Any, str]], place: int) -> int:
    from fastconv_kernels.cuda import build

    build.build(*kernels[place])
    return place


def folder() -> Path:
    """Where compiled kernels for CUDA are."""
    from fastconv_kernels.cuda import build

    return Path(build.cubin_folder())


def architectures(asked: Any) -> list[str]:
    """The names of architectures, checked; None: that of device 0.

    Raises
    ------
    ArgumentError
        A name that is none, or of a GPU that is too old; none was asked for, and there is no device.
    TargetUnavailableError
        What compiles kernels is not installed.
    """
    if simulated():
        raise TargetUnavailableError("target: cuda is simulated in this process, which compiles nothing for it")
    if missing := missing_packages():
        raise TargetUnavailableError(f"target: kernels for cuda cannot be compiled: {missing}")
    names = [asked] if isinstance(asked, str) else list(asked or [_present()])
    for name in names:
        found = re.fullmatch(r"sm_(\d+)(\d)[af]?", name) if isinstance(name, str) else None
        if found is None:
            raise ArgumentError(f"arch: expected names as sm_80 or sm_90a, got {name!r}")
        if (int(found[1]), int(found[2])) < NEEDED_CAPABILITY:
            raise ArgumentError(f"arch: expected sm_80 or later, got {name!r}")
    return names


def _present() -> str:
    from ..devices import cuda_status

    if not cuda_status().available:
        raise ArgumentError(f"arch: expected the name of an architecture, as there is no device: {cuda_status().reason}")
    from cuda.core import Device

    from fastconv_kernels.cuda.launch import architecture

    return str(architecture(Device(0).compute_capability))
