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
    caches : str
        What a core has of each, as kernels are cut for them.
    cache : Path
        The folder of the compiled kernels as they are now.
    """

    cpu: str
    lanes: int
    threads: int
    caches: str
    cache: Path


def most_level3() -> int:
    """Bytes of a third cache that kernels count on, however large it is said to be."""
    from fastconv_kernels.cpu import workspace

    return workspace.MOST_LEVEL3


def machine() -> Machine:
    """Look; imports Numba, compiles nothing.

    Raises
    ------
    ArgumentError
        FASTCONV_LANES asks for lanes that there are not.
    """
    import llvmlite.binding as llvm

    from fastconv_kernels.cpu import cache, simd, threads, workspace

    try:
        lanes = simd.register_bytes() // 4
    except ValueError as error:
        raise ArgumentError(str(error)) from error
    caches = ", ".join(f"{size >> 10} KiB" for size in workspace.caches())
    return Machine(llvm.get_host_cpu_name(), lanes, threads.available_threads(), caches, cache.kernel_cache_folder())
