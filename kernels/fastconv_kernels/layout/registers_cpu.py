"""Changing layouts in vector registers: square blocks are loaded, transposed by shuffles and stored, a cache line each way."""

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.pack import transpose
from ..cpu.places import block
from ..cpu.share import share, threads_for
from ..cpu.tile import Tile, load_tile, pointer, store_tile
from ..problems import Transposition

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 16
"""Elements: fewer are moved sooner than a second thread starts."""


@jit
def transpose_strip(tile, source, target, rows, columns, left):
    """target[left:, :] (columns, rows) = source[:, left:] (rows, columns), as many columns as a vector has lanes."""
    width = min(tile.lanes, columns - left)
    for top in range(0, rows, tile.lanes):
        height = min(tile.lanes, rows - top)
        piece = load_tile(tile, block(tile, source + (top * columns + left), columns, height, width))
        store_tile(transpose(piece), block(tile, target + (left * rows + top), rows, width, height))


@jit
def transpose_share(tile, x, out, shape, thread, threads):
    """The strips that are this thread's; shape: (images, rows, columns)."""
    images, rows, columns = shape
    strips = (columns + tile.lanes - 1) // tile.lanes
    first, end = share(thread, threads, images * strips)
    for task in range(first, end):
        image = task // strips * rows * columns
        source, target = pointer(tile, x, image), pointer(tile, out, image)
        transpose_strip(tile, source, target, rows, columns, task % strips * tile.lanes)


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
