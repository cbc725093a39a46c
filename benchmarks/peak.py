"""The most fused multiply-adds that one core can do: ``python -m benchmarks.peak``.

A tile of sums that never leaves the registers, each sum independent of the others, and nothing is loaded: what no kernel
can surpass, in GFLOP/s.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from llvmlite import ir

from fastconv_kernels.cpu.compile import jit
from fastconv_kernels.cpu.emit import fused_multiply_add, splat
from fastconv_kernels.cpu.places import block
from fastconv_kernels.cpu.simd import word
from fastconv_kernels.cpu.tile import Tile, each_vector, load_tile, pointer, store_tile

SUMS = 12
"""Enough to keep two units of latency four busy, few enough for sixteen registers."""

STEPS = 4_000_000


@word(lambda total: total)
def multiply_add(builder: Any, result: Any, total: Any) -> Any:
    """Every sum times a number, plus another."""
    vector = result.element.element
    factor, term = (splat(builder, ir.Constant(vector.element, value), vector.count) for value in (0.5, 1.0))
    return each_vector(builder, total, lambda i, j, sums: fused_multiply_add(builder, sums, factor, term))


@jit
def chains(tile: Any, steps: int, out: Any) -> None:
    place = block(tile, pointer(tile, out, 0), tile.columns, tile.rows, tile.columns)
    total = load_tile(tile, place)  # sums that begin alike would be computed once for all
    for _ in range(steps):
        total = multiply_add(total)
    store_tile(total, place)


def measure(rounds: int = 5, dtype: str = "float32") -> float:
    """GFLOP/s of one thread: the median of ``rounds`` runs of some tenths of a second."""
    tile = Tile(SUMS, 1, dtype)
    out = np.arange(tile.rows * tile.columns).reshape(tile.rows, tile.columns).astype(dtype)
    chains(tile, 100, out)
    assert np.all(out == 2), "the sums tend to 2"
    rates = []
    for _ in range(rounds):
        start = perf_counter()
        chains(tile, STEPS, out)
        rates.append(2 * STEPS * out.size / (perf_counter() - start) / 1e9)
    return median(rates)


if __name__ == "__main__":
    print(f"{measure():.1f} GFLOP/s")
