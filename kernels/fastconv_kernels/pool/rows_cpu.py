"""Pooling in NCHW on the CPU, lanes over the outputs of a row: a tile of them stays in registers while the taps are folded.

With stride 2 a load brings twice as many neighbours, of which every other one is taken.  Backwards each plane belongs to one
thread, which adds the gradients at their positions in the order of the windows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.elements import elements
from ..cpu.fold import extent, filled_with, larger, place_of_larger, positions, positions_in, quotients
from ..cpu.pixel_rows import load_neighbours, load_row, store_strip_first
from ..cpu.share import share, threads_for
from ..cpu.simd import prefetch
from ..cpu.tile import Tile, add_tile, pointer, zero
from ..cpu.workspace import even
from ..problems import Pool
from .tables import axis, divisors, empty_windows, uneven

Array = np.ndarray[Any, np.dtype[Any]]

WIDEST = 2
"""Vectors of a tile: more would seldom be filled."""

AHEAD = 1024
"""Elements: what is fetched so far ahead has arrived when it is wanted."""

GRAIN = 1 << 16
"""Taps: fewer take less time (about 5 microseconds) than a second thread saves."""


@inlined
def fetch(tile, pixels, stride):
    """Ask for the lines of a strip of windows that will be read ``AHEAD`` elements later."""
    for line in range(0, tile.columns * stride, tile.lanes):
        prefetch(pixels + (AHEAD + line))


@inlined
def is_whole(tile, extent, left, across, W):
    """Whether all taps of a strip of windows lie in a row, and the element after."""
    stride, dilation = across
    return left >= 0 and left + (tile.columns - 1) * stride + (extent.columns - 1) * dilation + 1 < W


@inlined
def largest(tile, extent, row, first, rows, across, firsts, W, indices):
    """(the maxima of a strip of windows, where they are): positions only if ``indices`` is not None.

    row: of tap 0 of the windows, in or outside the plane; first: (its position, the column of the first window's tap 0);
    rows: (first, end of the rows of taps that are inside, the step between them); across: (stride, dilation); firsts: the
    first column of each window that is inside
    """
    (corner, left), (first_row, end_row, down), (stride, dilation) = first, rows, across
    lowest, whole = type(row[0])(-np.inf), is_whole(tile, extent, left, across, W)
    best, places = filled_with(tile, lowest), positions_in(tile, firsts, corner + first_row * down * W)
    for i in range(first_row, end_row):
        pixels = row + i * down * W
        fetch(tile, pixels + left, stride)
        for j in range(extent.columns):
            column = left + j * dilation
            value = load_row(tile, pixels, column, stride, W, lowest, whole)
            if indices is not None:
                there = positions(tile, corner + i * down * W + column, stride)
                places = place_of_larger(places, best, value, there)
            best = larger(best, value)
    return best, places


@inlined
def mean(tile, extent, row, left, rows, across, W, divisors):
    """The means of a strip of windows, as above."""
    (first_row, end_row, down), (stride, dilation) = rows, across
    nothing, whole = type(row[0])(0), is_whole(tile, extent, left, across, W)
    total = zero(tile)
    for i in range(first_row, end_row):
        pixels = row + i * down * W
        fetch(tile, pixels + left, stride)
        for j in range(extent.columns):
            total = add_tile(total, load_row(tile, pixels, left + j * dilation, stride, W, nothing, whole))
    return quotients(total, divisors)


@jit
def forward_share(tile, extent, x, out, indices, divisors, planes, down, across, thread, threads):
    """The rows of windows that are this thread's; ``divisors`` is None for a maximum, ``indices`` if nobody asks for them.

    down: for each row of windows (its first tap, inside or not; the first tap inside, the end of those; their distance);
    across: (stride, dilation, left padding, the first column of each window that is inside)
    """
    (count, H, W, Q), (tops, first_rows, end_rows, step) = planes, down
    stride, dilation, padding, firsts = across
    P = tops.size
    # Addresses: an array that is given to a function is counted, by locked instructions that end all looking ahead.
    source, target, found = pointer(tile, x, 0), pointer(tile, out, 0), pointer(tile, indices, 0)
    areas, table = pointer(tile, divisors, 0), pointer(tile, firsts, 0)
    first, end = share(thread, threads, count * P)
    for number in range(first, end):
        plane, p = number // P, number % P
        row, rows = source + (plane * H + tops[p]) * W, (first_rows[p], end_rows[p], step)
        for column in range(0, Q, tile.columns):
            q = max(0, min(column, Q - tile.columns))  # the last tile overlaps the one before
            left, result = q * stride - padding, number * Q + q
            if divisors is None:
                begin = tops[p] * W, left
                best, places = largest(tile, extent, row, begin, rows, (stride, dilation), table + q, W, found)
                store_strip_first(best, target + result, Q - q)
                if indices is not None:
                    store_strip_first(places, found + result, Q - q)
            else:
                divisor = load_neighbours(tile, areas + p * Q, q, Q, type(areas[0])(1))
                total = mean(tile, extent, row, left, rows, (stride, dilation), W, divisor)
                store_strip_first(total, target + result, Q - q)


@threaded
def forward(tile, extent, x, out, indices, divisors, planes, down, across, threads):
    for thread in prange(threads):
        forward_share(tile, extent, x, out, indices, divisors, planes, down, across, np.intp(thread), threads)


@threaded
def backward(gradients, indices, out, planes, pixels, windows, threads):
    """out (planes, pixels) from gradients (planes, windows); an index outside the plane receives nothing."""
    for thread in prange(threads):
        first, end = share(thread, threads, planes)
        for plane in range(first, end):
            gradient = elements(out, plane * pixels)
            given, places = elements(gradients, plane * windows), elements(indices, plane * windows)
            for pixel in range(pixels):
                gradient[pixel] = out.dtype.type(0)
            for window in range(windows):
                pixel = np.intp(places[window])
                if 0 <= pixel < pixels:
                    gradient[pixel] = gradient[pixel] + given[window]


def other_layout(problem: Pool) -> tuple[str, ...]:
    return () if problem.layout == "NCHW" else ("its lanes are columns side by side, the layout is NHWC",)


def refuses(problem: Pool) -> tuple[str, ...]:
    """Why it cannot compute ``problem``."""
    return other_layout(problem) or uneven(problem) or (empty_windows(problem) if problem.mode == "max" else ())


def refuses_backward(problem: Pool) -> tuple[str, ...]:
    """Why it cannot compute the gradient of ``problem``."""
    return other_layout(problem) or (() if problem.mode == "max" else ("it adds at positions, a mean has none",))


class Forward:
    """``plan(x, out, indices=None)``"""

    workspace_bytes = 0

    def __init__(self, problem: Pool, threads: int) -> None:
        self.problem, self.extent = problem, extent(problem.R, problem.S)
        lanes = Tile(1, 1, problem.dtype).lanes
        self.tile = Tile(1, even(problem.Q, WIDEST * lanes, lanes) // lanes, problem.dtype)
        self.threads = threads_for(threads, problem.flops, GRAIN)
        down, across = axis(problem, 0), axis(problem, 1)
        self.divisors = divisors(problem, down, across) if problem.mode == "average" else None
        firsts = np.zeros(problem.Q + self.tile.columns, np.int32)
        firsts[: problem.Q] = across.first
        planes = problem.N * problem.C, problem.H, problem.W, problem.Q
        steps = problem.stride[1], problem.dilation[1], problem.padding[1][0], firsts
        self.shapes = planes, (*down.taps, problem.dilation[0]), steps, self.threads

    def __call__(self, x: Array, out: Array, indices: Array | None = None) -> Array:
        """Write the pooled images into ``out``, and where the maxima are into ``indices``, int32 or int64."""
        forward(self.tile, self.extent, x, out, indices, self.divisors, *self.shapes)
        return out


class BackwardInput:
    """``plan(grad_output, indices, out)`` of a maximum"""

    workspace_bytes = 0

    def __init__(self, problem: Pool, threads: int) -> None:
        self.problem = problem
        self.sizes = problem.N * problem.C, problem.H * problem.W, problem.P * problem.Q
        self.threads = threads_for(threads, self.sizes[0] * self.sizes[1], GRAIN)

    def __call__(self, grad_output: Array, indices: Array, out: Array) -> Array:
        """Write the gradient of the input into ``out``, each plane by one thread."""
        backward(grad_output, indices, out, *self.sizes, self.threads)
        return out
