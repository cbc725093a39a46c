"""Pooling in NHWC on the CPU, the lanes over the channels: a tile of them stays in registers while its window is folded.

Nothing but the pixels is read and nothing but the result written.  Backwards every pixel looks at the windows that cover it,
in their order, and takes what is meant for it: each gradient is written once, by one thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.fold import add_where, divided, extent, filled_with, larger, place_of_larger, positions
from ..cpu.pixel_rows import load_strip, store_strip
from ..cpu.share import share, threads_for
from ..cpu.simd import prefetch
from ..cpu.tile import Tile, add_tile, pointer, zero
from ..problems import Pool
from .tables import axis, divisors

Array = np.ndarray[Any, np.dtype[Any]]

VECTORS = 4, 2, 1
"""Of channels at once: a loop over the taps serves them all."""

FEW = 4
"""So many tiles that one more, half of it done twice, does not matter."""

AHEAD = 1024
"""Elements: what is fetched so far ahead has arrived when it is wanted.  The processor by itself sees too late what the many
streams of a window are (measured: 56x56x192, 3x3 stride 2, 2.9 times the time without)."""

GRAIN = 1 << 16
"""Taps: fewer take less time (about 5 microseconds) than a second thread saves."""


@inlined
def fetch(tile, pointer):
    """Ask for the lines of a strip that will be read, or written, ``AHEAD`` elements later."""
    for line in range(0, tile.columns, tile.lanes):
        prefetch(pointer + (AHEAD + line))


@inlined
def largest(tile, extent, pixel, corner, inside, steps, sizes, indices):
    """(the maxima of a window, where they are): positions only if ``indices`` is not None.

    pixel: of the window's first tap, in or outside the image; corner: its position; inside: (first, end of the rows of taps
    that are inside the image, of the columns); steps: (down, across) of the taps in pixels, sizes: in elements
    """
    first_row, end_row, first_column, end_column = inside
    best = filled_with(tile, type(pixel[0])(-np.inf))
    begin = corner + first_row * steps[0] + first_column * steps[1]
    places = positions(tile, begin if first_row < end_row and first_column < end_column else -1, 0)
    for i in range(first_row, end_row):
        for j in range(extent.columns):
            if first_column <= j < end_column:
                tap = pixel + (i * sizes[0] + j * sizes[1])
                fetch(tile, tap)
                value = load_strip(tile, tap)
                if indices is not None:
                    places = place_of_larger(places, best, value, corner + i * steps[0] + j * steps[1])
                best = larger(best, value)
    return best, places


@inlined
def mean(tile, extent, pixel, inside, sizes, divisor):
    """The mean of a window, as above."""
    first_row, end_row, first_column, end_column = inside
    total = zero(tile)
    for i in range(first_row, end_row):
        for j in range(extent.columns):
            if first_column <= j < end_column:
                tap = pixel + (i * sizes[0] + j * sizes[1])
                fetch(tile, tap)
                total = add_tile(total, load_strip(tile, tap))
    return divided(total, divisor)


@jit
def forward_share(tile, extent, x, out, indices, divisors, images, down, across, dilation, thread, threads):
    """The rows of windows that are this thread's; ``divisors`` is None for a maximum, ``indices`` if nobody asks for them.

    down, across: for each window (its first tap, inside the image or not; the first tap inside, the end of those)
    """
    N, H, W, C = images
    (tops, first_rows, end_rows), (lefts, first_columns, end_columns) = down, across
    P, Q = tops.size, lefts.size
    steps, sizes = (dilation[0] * W, dilation[1]), (dilation[0] * W * C, dilation[1] * C)
    # Addresses: an array that is given to a function is counted, by locked instructions that end all looking ahead.
    source, target, found = pointer(tile, x, 0), pointer(tile, out, 0), pointer(tile, indices, 0)
    areas = pointer(tile, divisors, 0)
    first, end = share(thread, threads, N * P)
    for row in range(first, end):
        n, p = row // P, row % P
        for q in range(Q):
            corner, inside = tops[p] * W + lefts[q], (first_rows[p], end_rows[p], first_columns[q], end_columns[q])
            for column in range(0, C, tile.columns):
                c = min(column, C - tile.columns)  # the last tile overlaps the one before
                pixel, result = source + ((n * H * W + corner) * C + c), (row * Q + q) * C + c
                if divisors is None:
                    best, places = largest(tile, extent, pixel, corner, inside, steps, sizes, found)
                    store_strip(best, target + result)
                    if indices is not None:
                        store_strip(places, found + result)
                else:
                    store_strip(mean(tile, extent, pixel, inside, sizes, areas[p * Q + q]), target + result)


@threaded
def forward(tile, extent, x, out, indices, divisors, images, down, across, dilation, threads):
    for thread in prange(threads):
        shared = np.intp(thread), threads
        forward_share(tile, extent, x, out, indices, divisors, images, down, across, dilation, *shared)


@jit
def backward_share(tile, extent, gradients, indices, out, images, outputs, down, across, thread, threads):
    """The rows of pixels that are this thread's; down, across: (the first window that covers a pixel, how many, the step)."""
    (N, H, W, C), (P, Q) = images, outputs
    (first_rows, row_counts, row_step), (first_columns, column_counts, column_step) = down, across
    target, found, given = pointer(tile, out, 0), pointer(tile, indices, 0), pointer(tile, gradients, 0)
    first, end = share(thread, threads, N * H)
    for row in range(first, end):
        n, h = row // H, row % H
        rows, corner = row_counts[h], (n * P + first_rows[h]) * Q
        for w in range(W):
            columns = column_counts[w]
            for column in range(0, C, tile.columns):
                c = min(column, C - tile.columns)
                window, pixel = (corner + first_columns[w]) * C + c, target + ((row * W + w) * C + c)
                total = zero(tile)
                for i in range(rows):
                    for j in range(extent.columns):
                        if j < columns:
                            other = window + (i * row_step * Q + j * column_step) * C
                            total = add_where(total, given + other, found + other, h * W + w)
                fetch(tile, pixel)
                store_strip(total, pixel)


@threaded
def backward(tile, extent, gradients, indices, out, images, outputs, down, across, threads):
    for thread in prange(threads):
        shared = np.intp(thread), threads
        backward_share(tile, extent, gradients, indices, out, images, outputs, down, across, *shared)


def tile_of(problem: Pool) -> Tile:
    """Several vectors if the channels fill them, one, or part of one."""
    lanes = next(lanes for lanes in (Tile(1, 1, problem.dtype).lanes, 4, 1) if lanes <= problem.C)
    full = [vectors for vectors in VECTORS if problem.C % (vectors * lanes) == 0 or FEW * vectors * lanes <= problem.C]
    return Tile(1, full[0] if full else 1, problem.dtype, lanes)


def refuses(problem: Pool) -> tuple[str, ...]:
    """Why it cannot compute ``problem``."""
    if problem.layout != "NHWC":
        return ("its lanes are channels side by side, the layout is NCHW",)
    return ()


def refuses_backward(problem: Pool) -> tuple[str, ...]:
    """Why it cannot compute the gradient of ``problem``."""
    if problem.mode != "max":
        return ("it selects by position, a mean has none",)
    return ("its lanes are channels side by side, the layout is NCHW",) if problem.layout != "NHWC" else ()


class Forward:
    """``plan(x, out, indices=None)``"""

    workspace_bytes = 0

    def __init__(self, problem: Pool, threads: int) -> None:
        self.problem, self.tile = problem, tile_of(problem)
        self.threads = threads_for(threads, problem.flops, GRAIN)
        down, across = axis(problem, 0), axis(problem, 1)
        self.divisors = divisors(problem, down, across) if problem.mode == "average" else None
        images = problem.N, problem.H, problem.W, problem.C
        self.extent = extent(problem.R, problem.S)
        self.shapes = images, down.taps, across.taps, problem.dilation, self.threads

    def __call__(self, x: Array, out: Array, indices: Array | None = None) -> Array:
        """Write the pooled images into ``out``, and where the maxima are into ``indices``, int32 or int64."""
        forward(self.tile, self.extent, x, out, indices, self.divisors, *self.shapes)
        return out


class BackwardInput:
    """``plan(grad_output, indices, out)`` of a maximum"""

    workspace_bytes = 0

    def __init__(self, problem: Pool, threads: int) -> None:
        self.problem, self.tile = problem, tile_of(problem)
        self.threads = threads_for(threads, problem.flops, GRAIN)
        down, across = axis(problem, 0), axis(problem, 1)
        images = problem.N, problem.H, problem.W, problem.C
        self.extent = extent(*(int(each.covering[1].max()) for each in (down, across)))
        self.shapes = images, (problem.P, problem.Q), down.covering, across.covering, self.threads

    def __call__(self, grad_output: Array, indices: Array, out: Array) -> Array:
        """Write the gradient of the input into ``out``, each element by one thread."""
        backward(self.tile, self.extent, grad_output, indices, out, *self.shapes)
        return out
