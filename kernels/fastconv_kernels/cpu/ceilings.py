"""What no kernel can surpass: the fused multiply-adds of the cores, and bytes moved within each cache and in memory.

The multiply-adds are those of a tile of sums that never leaves the registers, each sum independent of the others, and nothing
is loaded.  Beside them stands what a product of matrices can reach: those of a tile that loads its operands, always the same
ones, from the first cache.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange

from .accumulate import accumulate
from .compile import apart, serial, threaded
from .emit import fused_multiply_add, splat
from .places import block, panel
from .simd import word
from .tile import Tile, each_vector, fitting, load_tile, pointer, store_tile
from .workspace import aligned

Array = np.ndarray[Any, np.dtype[Any]]
Work = tuple[Callable[[], Any], int]

SUMS = 12
"""Enough to keep two units of latency four busy, few enough for sixteen registers."""

STEPS = 1_000_000
"""Of a call: a millisecond or two."""

TILES, DEPTH, TIMES = ((8, 3), (4, 3)), 64, 4000
"""Of products: shapes of which one fits the registers, steps of K, whose operands take 15 KB, and how often in a call."""


@word(lambda total: total)
def multiply_add(builder, result, total):
    """Every sum times a number, plus another."""
    vector = result.element.element
    factor, term = (splat(builder, ir.Constant(vector.element, value), vector.count) for value in (0.5, 1.0))
    return each_vector(builder, total, lambda i, j, sums: fused_multiply_add(builder, sums, factor, term))


@serial
def _chain(tile, steps, out, offset):
    place = block(tile, pointer(tile, out, offset), tile.columns, tile.rows, tile.columns)
    total = load_tile(tile, place)  # sums that begin alike would be computed once for all
    for _ in range(steps):
        total = multiply_add(total)
    store_tile(total, place)


@threaded
def chains(tile, steps, out, threads):
    """The sums of each thread."""
    for thread in prange(threads):
        _chain(tile, steps, out, np.intp(thread) * out.shape[1])


@serial
def _product(tile, times, a, b, out, offset):
    place = block(tile, pointer(tile, out, offset), tile.columns, tile.rows, tile.columns)
    total = load_tile(tile, place)
    for _ in range(times):
        total = accumulate(total, pointer(tile, a, 0), tile.rows, panel(tile, pointer(tile, b, 0)), tile.columns, DEPTH)
    store_tile(total, place)


@threaded
def products(tile, times, a, b, out, threads):
    """A @ B, added to the sums of each thread so often."""
    for thread in prange(threads):
        _product(tile, times, a, b, out, np.intp(thread) * out.shape[1])


@apart
@serial
def _copy(source, target):
    for i in range(source.size):  # a loop becomes vectors, an assignment of slices does not
        target[i] = source[i]


@apart
@serial
def _negate(numbers):
    for i in range(numbers.size):
        numbers[i] = -numbers[i]


@threaded
def negations(numbers, times, threads):
    """Of the numbers of each thread, where they are."""
    for thread in prange(threads):
        for _ in range(times):
            _negate(numbers[thread])


@threaded
def copies(source, target, times, threads):
    """The numbers of each thread, so often that starting the threads takes no time beside it."""
    for thread in prange(threads):
        for _ in range(times):
            _copy(source[thread], target[thread])


def peak(threads: int) -> Work:
    """(a call, its floating-point operations): multiply-adds at the rate of the machine."""
    tile = Tile(SUMS, 1, "float32")
    size = tile.rows * tile.columns
    out = np.resize(np.arange(size, dtype=np.float32), (threads, size))
    chains(tile, 100, out, threads)
    assert np.all(out == 2), "the sums tend to 2"
    return partial(chains, tile, STEPS, out, threads), 2 * STEPS * out.size


def product(threads: int) -> Work:
    """(a call, its floating-point operations): products of a tile at the rate of the machine."""
    tile = fitting(TILES, Tile(*TILES[0], "float32").columns, "float32")
    a, b = aligned(DEPTH * tile.rows, "float32"), aligned(DEPTH * tile.columns, "float32")
    out = np.zeros((threads, tile.rows * tile.columns), np.float32)
    a.fill(1)
    b.fill(1)
    products(tile, 1, a, b, out, threads)
    assert np.all(out == DEPTH), "the products of ones"
    return partial(products, tile, TIMES, a, b, out, threads), 2 * TIMES * DEPTH * out.size


def copying(source: Array, target: Array, times: int) -> Work:
    """(a call, the bytes that it reads and writes): each thread copies its row of ``source`` to ``target`` so often."""
    return partial(copies, source, target, times, len(source)), 2 * times * source.nbytes


def updating(numbers: Array, times: int) -> Work:
    """The same of numbers that are read and written in place: no line of memory is read only to be written over."""
    return partial(negations, numbers, times, len(numbers)), 2 * times * numbers.nbytes
