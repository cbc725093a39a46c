"""Changing layouts in vector registers: square blocks are loaded, transposed by shuffles and stored, a cache line each way."""

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.pack import transpose
from ..cpu.places import block
from ..cpu.share import share, threads_for
from ..cpu.simd import prefetch
from ..cpu.tile import Tile, load_tile, pointer, store_tile
from ..problems import Transposition

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 16
"""Elements: fewer are moved sooner than a second thread starts."""


STRIPE = 4
"""Blocks each way that are moved before others: whole groups of lines, which memory gives and takes faster."""

AHEAD = 1
"""Blocks: rows so far ahead are asked for, as the processor does not foresee so many streams."""


@inlined
def transpose_block(tile, source, target, rows, columns, height, width):
    """target (columns, rows) = source (rows, columns) for one block, of which ``height`` x ``width`` elements exist."""
    for row in range(tile.rows):
        prefetch(source + (AHEAD * tile.rows + row) * columns)
    piece = load_tile(tile, block(tile, source, columns, height, width))
    store_tile(transpose(piece), block(tile, target, rows, width, height))


@jit
def transpose_stripe(tile, source, target, rows, columns, left):
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
                    transpose_block(tile, here, there, rows, columns, lanes, lanes)
                else:
                    transpose_block(tile, here, there, rows, columns, rows, columns)


@jit
def transpose_share(tile, x, out, shape, thread, threads):
    """The stripes that are this thread's; shape: (images, rows, columns)."""
    images, rows, columns = shape
    width = STRIPE * tile.lanes
    stripes = (columns + width - 1) // width
    source, target = pointer(tile, x, 0), pointer(tile, out, 0)
    first, end = share(thread, threads, images * stripes)
    for task in range(first, end):
        image = task // stripes * rows * columns
        transpose_stripe(tile, source + image, target + image, rows, columns, task % stripes * width)


@threaded
def transpose_all(tile, x, out, shape, threads):
    for thread in prange(threads):
        transpose_share(tile, x, out, shape, np.intp(thread), threads)


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

    def __call__(self, x: Array, out: Array) -> Array:
        """Write ``x`` with its last two axes swapped into ``out``."""
        if 1 in (self.problem.channels, self.problem.pixels):  # the same order in memory
            np.copyto(out, x.reshape(out.shape))
        else:
            transpose_all(self.tile, x.reshape(-1), out.reshape(-1), x.shape, self.threads)
        return out
