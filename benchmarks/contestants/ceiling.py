"""What no kernel can surpass: the fused multiply-adds of the cores, and bytes copied within each cache and in memory.

The multiply-adds are those of a tile of sums that never leaves the registers, each sum independent of the others, and nothing
is loaded.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange

from benchmarks.cases import Case
from fastconv_kernels.cpu.compile import apart, jit, threaded
from fastconv_kernels.cpu.emit import fused_multiply_add, splat
from fastconv_kernels.cpu.places import block
from fastconv_kernels.cpu.simd import word
from fastconv_kernels.cpu.tile import Tile, each_vector, load_tile, pointer, store_tile

from . import Entry
from .operands import Operands, empty
from .sizes import COPIED

SUMS = 12
"""Enough to keep two units of latency four busy, few enough for sixteen registers."""

STEPS = 1_000_000
"""Of a call: a millisecond or two."""


@word(lambda total: total)
def multiply_add(builder: Any, result: Any, total: Any) -> Any:
    """Every sum times a number, plus another."""
    vector = result.element.element
    factor, term = (splat(builder, ir.Constant(vector.element, value), vector.count) for value in (0.5, 1.0))
    return each_vector(builder, total, lambda i, j, sums: fused_multiply_add(builder, sums, factor, term))


@jit
def _chain(tile: Any, steps: int, out: Any, offset: int) -> None:
    place = block(tile, pointer(tile, out, offset), tile.columns, tile.rows, tile.columns)
    total = load_tile(tile, place)  # sums that begin alike would be computed once for all
    for _ in range(steps):
        total = multiply_add(total)
    store_tile(total, place)


@threaded
def chains(tile: Any, steps: int, out: Any, threads: int) -> None:
    """The sums of each thread."""
    for thread in prange(threads):
        _chain(tile, steps, out, np.intp(thread) * out.shape[1])


@apart
@jit
def _copy(source: Any, target: Any) -> None:
    for i in range(source.size):  # a loop becomes vectors, an assignment of slices does not
        target[i] = source[i]


@threaded
def copies(source: Any, target: Any, times: int, threads: int) -> None:
    """The numbers of each thread, so often that starting the threads takes no time beside it."""
    for thread in prange(threads):
        for _ in range(times):
            _copy(source[thread], target[thread])


def entry(case: Case | None, operands: Operands | None, threads: int, copied: str | None = None) -> Entry:
    """Multiply-adds, whatever the case, or copies within ``copied``, of which each byte counts as one flop."""
    if copied is not None:
        source, target = (empty((threads, COPIED[copied] // 4)) for _ in range(2))
        source.fill(1)
        times = COPIED["memory"] // COPIED[copied]
        return Entry(partial(copies, source, target, times, threads), None, flops=2 * times * source.nbytes)
    tile = Tile(SUMS, 1, "float32")
    size = tile.rows * tile.columns
    out = np.resize(np.arange(size, dtype=np.float32), (threads, size))
    chains(tile, 100, out, threads)
    assert np.all(out == 2), "the sums tend to 2"
    return Entry(partial(chains, tile, STEPS, out, threads), None, flops=2 * STEPS * out.size)
