"""What this machine and its GPU can do at most: what kernels are measured against."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..devices import simulated
from ._check import Array
from ._placement import copied_to, fetched, working

if TYPE_CHECKING:
    from fastconv_kernels.cpu.ceilings import Work


def peak(threads: int) -> Work:
    """(a call, its floating-point operations): nothing but fused multiply-adds of float32."""
    from fastconv_kernels.cpu import ceilings

    return ceilings.peak(threads)


def product(threads: int) -> Work:
    """(a call, its floating-point operations): a tile of float32 products whose operands stay in the first cache."""
    from fastconv_kernels.cpu import ceilings

    return ceilings.product(threads)


def copying(source: Array, target: Array, times: int) -> Work:
    """(a call, the bytes that it reads and writes): ``source`` copied to ``target`` ``times`` times, a thread for each row."""
    from fastconv_kernels.cpu import ceilings

    return ceilings.copying(source, target, times)


def updating(numbers: Array, times: int) -> Work:
    """(a call, the bytes that it reads and writes): ``numbers`` changed in place ``times`` times, a thread for each row."""
    from fastconv_kernels.cpu import ceilings

    return ceilings.updating(numbers, times)


ON_DEVICE = "copy", "fp32", "tf32", "bf16"
"""What a GPU does: copy within its memory, and multiply with what the operands are rounded to."""
COPIED = 1 << 12 if simulated() else 1 << 28
"""Bytes, many times level 2."""


def on_device(what: str) -> Work:
    """(a call that waits until the GPU has done it, its bytes or floating-point operations), of one of ``ON_DEVICE``."""
    from fastconv_kernels.cuda import ceilings

    size = COPIED // 4 if what == "copy" else ceilings.outputs()
    source, target = (copied_to(0, np.zeros(size, np.float32)) for _ in range(2))
    with working(target):
        call, work = ceilings.copying(source, target) if what == "copy" else ceilings.peak(target, what)
    return _awaited(call, target), work


def _awaited(call: Callable[[], Any], place: Any) -> Callable[[], Any]:
    """``call``, until one number of ``place`` behind it on the same stream has come to the host."""

    def whole() -> Any:
        with working(place):
            call()
        return fetched(place[:1])

    return whole
