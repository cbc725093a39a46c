"""Global average pooling in NCHW on the CPU: a window that is a whole plane is a stretch of memory, summed by vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.elements import elements
from ..cpu.fold import sum_of_lanes
from ..cpu.pixel_rows import load_neighbours, load_strip
from ..cpu.share import share, threads_for
from ..cpu.tile import Tile, add_tile, pointer, zero
from ..problems import NO_PADDING, Pool

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 16
"""Elements: fewer take less time (about 5 microseconds) than a second thread saves."""


@jit
def mean_planes(tile, x, out, pixels, divisor, first, end):
    """out[plane] = the mean of x (planes, pixels), from ``first`` to ``end``."""
    source, target = pointer(tile, x, 0), pointer(tile, out, 0)
    whole = pixels // tile.columns * tile.columns
    for plane in range(first, end):
        row, total = source + plane * pixels, zero(tile)
        for pixel in range(0, whole, tile.columns):
            total = add_tile(total, load_strip(tile, row + pixel))
        total = add_tile(total, load_neighbours(tile, row, whole, pixels, type(divisor)(0)))
        target[plane] = sum_of_lanes(total) / divisor


@threaded
def forward(tile, x, out, planes, pixels, divisor, threads):
    for thread in prange(threads):
        first, end = share(thread, threads, planes)
        mean_planes(tile, x, out, pixels, divisor, first, end)


@threaded
def backward(gradients, out, planes, pixels, divisor, threads):
    for thread in prange(threads):
        first, end = share(thread, threads, planes)
        for plane in range(first, end):
            target, given = elements(out, plane * pixels), gradients[plane] / divisor
            for pixel in range(pixels):
                target[pixel] = given


def refuses(problem: Pool) -> tuple[str, ...]:
    """Why it cannot compute ``problem``, in either direction."""
    whole = (problem.R, problem.S, problem.padding) == (problem.H, problem.W, NO_PADDING)
    if problem.mode == "average" and problem.layout == "NCHW" and whole:
        return ()
    return ("its window is the whole plane, of which it takes the mean, in NCHW",)


class _Planes:
    """What both directions have in common."""

    workspace_bytes = 0

    def __init__(self, problem: Pool, threads: int) -> None:
        self.problem, pixels = problem, problem.H * problem.W
        planes = problem.N * problem.C
        self.threads = threads_for(threads, planes * pixels, GRAIN)
        divisor = np.dtype(problem.dtype).type(problem.divisor or pixels)
        self.sizes = planes, pixels, divisor, self.threads


class Forward(_Planes):
    """``plan(x, out, indices=None)``"""

    def __init__(self, problem: Pool, threads: int) -> None:
        super().__init__(problem, threads)
        self.tile = Tile(1, 1, problem.dtype)

    def __call__(self, x: Array, out: Array, indices: None = None) -> Array:
        """Write the mean of each plane into ``out``."""
        forward(self.tile, x, out, *self.sizes)
        return out


class BackwardInput(_Planes):
    """``plan(grad_output, out)``"""

    def __call__(self, grad_output: Array, out: Array) -> Array:
        """Write each gradient's share to all pixels of its plane."""
        backward(grad_output.reshape(-1), out, *self.sizes)
        return out
