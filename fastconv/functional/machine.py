"""What the kernels find on this machine: its CPU, its threads, and where compiled kernels are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    """Look; imports Numba, compiles nothing."""
    import llvmlite.binding as llvm

    from fastconv_kernels.cpu import cache, simd, threads

    return Machine(
        llvm.get_host_cpu_name(), simd.register_bytes() // 4, threads.available_threads(), cache.kernel_cache_folder()
    )
