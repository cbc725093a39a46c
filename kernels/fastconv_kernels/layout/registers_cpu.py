"""Changing layouts in vector registers: square blocks are loaded, transposed by shuffles and stored, a cache line each way.

Where the third cache is as far as memory, what it does not hold is written past the caches if it is read along long runs: on a
Granite Rapids 16 x 256 x 56 x 56 and 16 x 64 x 112 x 112 came to NCHW in 0.7 of the time.  The other way, which reads a
few lines of many planes, such stores took 1.0 to 1.2 times as long.
"""

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.pack import transpose
from ..cpu.past import goes_past
from ..cpu.places import block
from ..cpu.share import share, threads_for
from ..cpu.simd import prefetch
from ..cpu.tile import Tile, load_tile, pointer, store_tile, stream_tile, streamed
from ..cpu.workspace import LINE_BYTES
from ..problems import Transposition

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 16
"""Elements: fewer are moved sooner than a second thread starts."""


STRIPE = 4
"""Blocks each way that are moved before others: whole groups of lines, which memory gives and takes faster."""

AHEAD = 1
"""Blocks: rows so far ahead are asked for, as the processor does not foresee so many streams."""


@inlined
def transpose_block(tile, source, target, rows, columns, height, width, past):
    """target (columns, rows) = source (rows, columns) for one block, of which ``height`` x ``width`` elements exist."""
    for row in range(tile.rows):
        prefetch(source + (AHEAD * tile.rows + row) * columns)
    piece = load_tile(tile, block(tile, source, columns, height, width))
    place = block(tile, target, rows, width, height)
    if past:
        stream_tile(transpose(piece), place)
    else:
        store_tile(transpose(piece), place)


@jit
def transpose_stripe(tile, source, target, rows, columns, left, past):
    """target[left:, :] (columns, rows) = source[:, left:] (rows, columns), ``STRIPE`` vectors of columns.

    The last block overlaps the one before: it moves some elements again, to where they are.
    """
    lanes = tile.lanes
    whole = rows >= lanes and columns >= lanes
    for group in range(0, rows, STRIPE * lanes):
        for across in range(left, min(left + STRIPE * lanes, columns), lanes):
            column = max(0, min(across, columns - lanes))
            for down in range(group, min(group + STRIPE * lanes, rows), lanes):
                top = max(0, min(down, rows - lanes))
                here, there = source + (top * columns + column), target + (column * rows + top)
                if whole:
                    transpose_block(tile, here, there, rows, columns, lanes, lanes, past)
                else:
                    transpose_block(tile, here, there, rows, columns, rows, columns, False)


@jit
def transpose_share(tile, x, out, shape, past, thread, threads):
    """The stripes that are this thread's; shape: (images, rows, columns)."""
    images, rows, columns = shape
    width = STRIPE * tile.lanes
    stripes = (columns + width - 1) // width
    source, target = pointer(tile, x, 0), pointer(tile, out, 0)
    first, end = share(thread, threads, images * stripes)
    for task in range(first, end):
        image = task // stripes * rows * columns
        transpose_stripe(tile, source + image, target + image, rows, columns, task % stripes * width, past)
    streamed(tile)


@threaded
def transpose_all(tile, x, out, shape, past, threads):
    for thread in prange(threads):
        transpose_share(tile, x, out, shape, past, np.intp(thread), threads)


FEW = 8
"""With fewer channels or pixels most of a square block would be empty."""


def declines(problem: Transposition) -> tuple[str, ...]:
    """Why another kernel should move ``problem``."""
    if min(problem.channels, problem.pixels) < FEW:
        return (f"with fewer than {FEW} channels or pixels most of a block would be empty",)
    return ()


class Swap:
    """``plan(x, out)``: out (N, b, a) from x (N, a, b)."""

    workspace_bytes = 0

    def __init__(self, problem: Transposition, threads: int) -> None:
        self.problem = problem
        self.threads = threads_for(threads, problem.images * problem.channels * problem.pixels, GRAIN)
        lanes = Tile(1, 1, problem.dtype).lanes
        self.tile = Tile(lanes, 1, problem.dtype)
        lines = lanes * self.tile.itemsize == LINE_BYTES and problem.pixels % lanes == 0 and problem.channels >= lanes
        size = problem.images * problem.channels * problem.pixels
        self.past = lines and goes_past(2, size, problem.dtype)

    def __call__(self, x: Array, out: Array) -> Array:
        """Write ``x`` with its last two axes swapped into ``out``."""
        if 1 in (self.problem.channels, self.problem.pixels):  # the same order in memory
            np.copyto(out, x.reshape(out.shape))
        else:
            past = self.past and x.shape[1] == self.problem.pixels and out.ctypes.data % LINE_BYTES == 0
            transpose_all(self.tile, x.reshape(-1), out.reshape(-1), x.shape, past, self.threads)
        return out
