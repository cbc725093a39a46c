"""Changing layouts on the CPU: block by block, so that the lines a block reads and writes all stay in the nearest cache."""

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import inlined, threaded
from ..cpu.elements import elements
from ..cpu.share import share, threads_for
from ..problems import Transposition
from . import blocks

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = 16
"""Rows and columns of a block: a cache line of float32 each way."""

GRAIN = 1 << 15
"""Elements: fewer are moved sooner than a second thread starts."""

move = inlined(blocks.move)


@threaded
def transpose(x, out, threads):
    """out (N, columns, rows) from x (N, rows, columns), in tasks of ``BLOCK`` columns of an image."""
    for thread in prange(threads):
        N, rows, columns = x.shape
        tasks = -(-columns // BLOCK)
        first, end = share(thread, threads, N * tasks)
        for task in range(first, end):
            left = task % tasks * BLOCK
            image = task // tasks * rows * columns
            source, target = elements(x, image), elements(out, image)
            for top in range(0, rows, BLOCK):
                for column in range(left, min(left + BLOCK, columns)):
                    for row in range(top, min(top + BLOCK, rows)):
                        move(source, target, row, column, rows, columns)


class Swap:
    """``plan(x, out)``: out (N, b, a) from x (N, a, b)."""

    workspace_bytes = 0

    def __init__(self, problem: Transposition, threads: int) -> None:
        self.problem = problem
        self.threads = threads_for(threads, problem.images * problem.channels * problem.pixels, GRAIN)

    def __call__(self, x: Array, out: Array) -> Array:
        """Write ``x`` with its last two axes swapped into ``out``."""
        if 1 in (self.problem.channels, self.problem.pixels):  # the same order in memory
            np.copyto(out, x.reshape(out.shape))
        else:
            transpose(x, out, self.threads)
        return out
