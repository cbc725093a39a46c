"""The way back through 2 x 2 max pooling, ReLU and bias in one pass, lanes over channels (NHWC).

A window's gradient goes to the one pixel whose place was remembered, zero to the other three: four stores for one load, and
the pixels that no window has are cleared.  The gradient of the bias is the sum of what was not cut off; rows of windows are
summed in *parts*, whose number depends on the problem alone, and the parts in order.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.pooled import received, uncut
from ..cpu.share import share, threads_for
from ..cpu.simd import load_first, nothing, store_first
from ..cpu.tile import Tile, pointer
from ..cpu.workspace import workspace

PARTS = 64
"""At most so many parts: work for any number of threads."""

PART = 1 << 14
"""Pooled elements that pay for a part of their own, and for a thread, which finds its own images in its cache."""


@inlined
def spread(grad, positions, target, down, right, count):
    """One vector of a window's gradient to its four pixels: ``down`` and ``right`` apart from ``target`` on."""
    gradient, places = load_first(grad, count), load_first(positions, count)
    store_first(target, received(gradient, places, 0), count)
    store_first(target + right, received(gradient, places, 1), count)
    store_first(target + down, received(gradient, places, 2), count)
    store_first(target + (down + right), received(gradient, places, 3), count)


@inlined
def add_uncut(grad, positions, total, count):
    """total[:count] += the gradients that passed ReLU."""
    passed = uncut(load_first(grad, count), load_first(positions, count))
    store_first(total, load_first(total, count) + passed, count)


@inlined
def clear(tile, target, count):
    """target[:count] = 0."""
    for t in range(0, count, tile.lanes):
        store_first(target + t, nothing(target), count - t)


@jit
def expand_rows(tile, grad, positions, out, sums, sizes, first, end):
    """Rows of windows ``first`` … ``end``: their pixels in ``out``, their channels added to ``sums``.

    sizes: rows and columns of windows, rows and columns of pixels, channels
    """
    P, Q, rows, columns, channels = sizes
    down, right = columns * channels, channels
    clear(tile, sums, channels)
    for row in range(first, end):
        n, p = row // P, row % P
        target = out + (n * rows + 2 * p) * down
        for q in range(Q):
            source = (row * Q + q) * channels
            for k in range(0, channels, tile.lanes):
                place, pixel = source + k, target + (2 * q * channels + k)
                if channels - k >= tile.lanes:  # a constant leaves no mask: masked loads keep memory from being read ahead
                    spread(grad + place, positions + place, pixel, down, right, tile.lanes)
                    add_uncut(grad + place, positions + place, sums + k, tile.lanes)
                else:
                    spread(grad + place, positions + place, pixel, down, right, channels - k)
                    add_uncut(grad + place, positions + place, sums + k, channels - k)
        if columns % 2:
            clear(tile, target + (columns - 1) * channels, channels)
            clear(tile, target + (down + (columns - 1) * channels), channels)
        if rows % 2 and p == P - 1:
            clear(tile, target + 2 * down, down)


@threaded
def expand(tile, grad, positions, out, sums, sizes, images, threads):
    """The parts that are each thread's; sums: (parts, channels)."""
    for thread in prange(threads):
        parts, pitch = sums.shape
        given, places, target = pointer(tile, grad, 0), pointer(tile, positions, 0), pointer(tile, out, 0)
        totals = pointer(tile, sums, 0)
        first_part, end_part = share(thread, threads, parts)
        for part in range(first_part, end_part):
            first, end = share(part, parts, images * sizes[0])
            expand_rows(tile, given, places, target, totals + part * pitch, sizes, first, end)


class BackwardEpilogue:
    """A plan for the gradients of the convolution's output and of the bias.  One call at a time."""

    def __init__(self, problem, threads=1):
        self.problem = problem
        self.tile = Tile(1, 1, problem.dtype)
        self.sizes = problem.P, problem.Q, problem.conv.P, problem.conv.Q, problem.K
        rows = problem.N * problem.P
        parts = max(1, min(PARTS, rows * problem.Q * problem.K // PART, rows))
        self.threads = threads_for(threads, parts, 1)
        self.sums = workspace(parts, problem.K, problem.dtype)
        self.workspace_bytes = self.sums.nbytes

    def __call__(self, grad, positions, grad_conv, grad_bias=None):
        """Write both gradients.

        Parameters
        ----------
        grad : (N, P, Q, K), C-contiguous
            Of the maxima.
        positions : (N, P, Q, K) uint8
            As the forward direction wrote them.
        grad_conv : the shape of the convolution's output
        grad_bias : (K,), optional
        """
        operands = grad.reshape(-1), positions.reshape(-1), grad_conv.reshape(-1), self.sums
        expand(self.tile, *operands, self.sizes, self.problem.N, self.threads)
        if grad_bias is not None:
            np.add.reduce(self.sums[:, : self.problem.K], axis=0, out=grad_bias)
        return grad_conv
