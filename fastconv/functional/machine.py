"""What the kernels find on this machine: its CPU, its threads, and where compiled kernels are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import ArgumentError


@dataclass(frozen=True)
class Machine:
    """The machine as the kernels see it.

    Attributes
    ----------
    cpu : str
        LLVM's name of the microarchitecture, for which kernels are compiled.
    lanes : int
        float32 numbers in a vector register.
    threads : int
        The most that a kernel can use.
    cache : Path
        The folder of the compiled kernels as they are now.
    """

    cpu: str
    lanes: int
    threads: int
    cache: Path


def machine() -> Machine:
    """Look; imports Numba, compiles nothing.

    Raises
    ------
    ArgumentError
        FASTCONV_LANES asks for lanes that there are not.
    """
    import llvmlite.binding as llvm

    from fastconv_kernels.cpu import cache, simd, threads

    try:
        lanes = simd.register_bytes() // 4
    except ValueError as error:
        raise ArgumentError(str(error)) from error
    return Machine(llvm.get_host_cpu_name(), lanes, threads.available_threads(), cache.kernel_cache_folder())
