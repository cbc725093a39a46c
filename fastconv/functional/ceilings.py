"""What this machine can do at most: what kernels are measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._check import Array

if TYPE_CHECKING:
    from fastconv_kernels.cpu.ceilings import Work


def peak(threads: int) -> Work:
    """(a call, its floating-point operations): nothing but fused multiply-adds of float32."""
    from fastconv_kernels.cpu import ceilings

    return ceilings.peak(threads)


def copying(source: Array, target: Array, times: int) -> Work:
    """(a call, the bytes that it reads and writes): ``source`` copied to ``target`` ``times`` times, a thread for each row."""
    from fastconv_kernels.cpu import ceilings

    return ceilings.copying(source, target, times)


def updating(numbers: Array, times: int) -> Work:
    """(a call, the bytes that it reads and writes): ``numbers`` changed in place ``times`` times, a thread for each row."""
    from fastconv_kernels.cpu import ceilings

    return ceilings.updating(numbers, times)
