"""Depthwise convolution, the gradient of the weight on planes: shifted rows of pixels times rows of gradients (NCHW).

    grad_weight[k, r, s] = sum over images, p, q of x[k, p * stride + r - top, q * stride + s - left] * grad_output[k, p, q]

Lanes are pixels of a row; a sum for each tap stays in registers while the rows of a plane go by (``cpu/stencil``): a row of
pixels is loaded once for every column of taps and multiplied with all rows of gradients that it meets.  A few channels at a
time go through all images, their sums in the nearest cache; lanes are added at the very end.  Where there are few channels the
images are divided into *parts*, as many as the problem alone decides, so that any number of threads gives the same bits.

Source: Zhang, Lo & Lu, "High Performance Depthwise and Pointwise Convolutions on Mobile Devices", 2020.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.places import block
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import registers
from ..cpu.stencil import Stencil, sweep_gradient
from ..cpu.sums import GRAIN, add_lanes
from ..cpu.tile import Tile, load_tile, pointer, store_tile
from ..cpu.workspace import even, far_caches
from .frame_cpu import ask_for, bring, clear
from .geometry import forward_axes
from .walk import BROUGHT_SHARE, exceed_caches, planes_together

BLOCK = 16
"""The most channels that go through the images together: their planes are one stretch of memory, their sums near."""

PARTS = 16
"""The most pieces of work: as many as there are threads to use them on common machines."""

MOST_ROWS = 14
"""Of gradients in a tile."""

MOST_PRODUCTS = 256
"""Of vectors in the code of a tile."""


@inlined
def swept(stencil, total, source, pitch, gradient, gradient_pitch, masks, edge):
    """``sweep_gradient``, whose loads LLVM reorders in a function that stores the sums too: 130 spilled vectors, not 4."""
    return sweep_gradient(stencil, total, source, pitch, gradient, gradient_pitch, masks, edge)


@jit
def add_tiles(tile, stencil, source, gradient, sums, masks, edge, extents, count, ahead):
    """Add to ``sums`` what the tile at one place gives in each of ``count`` planes, one after another.

    source: at row 0 and column 0 of the first; edge: (first row that exists, first that does not)
    extents: (elements of a plane, columns) of the image, then of the gradient
    ahead: (image, gradient that come next, elements of each that are asked for with a tile)
    """
    size, width, result, pitch = extents
    for c in range(count):
        ask_for(tile, ahead[0] + c * size, ahead[2], 0, 1)
        ask_for(tile, ahead[1] + c * result, ahead[3], 0, 1)
        place = block(tile, sums + c * tile.rows * tile.lanes, tile.lanes, tile.rows, tile.lanes)
        image, given, total = source + c * size, gradient + c * result, load_tile(tile, place)
        store_tile(swept(stencil, total, image, width, given, pitch, masks, edge), place)


@jit
def add_rows_of_planes(tile, stencil, masks, height, extents, places, rows, count, ahead):
    """What the gradients from the first of ``rows`` to the last give in each of ``count`` planes, in whole tiles.

    masks: of the tiles of a row, a table; height: rows of the image; places: (image, gradient, sums)
    """
    image, gradient, sums = places
    _, width, _, columns = extents
    number = rows[0] // stencil.rows * ((columns + tile.lanes - 1) // tile.lanes)
    for p in range(rows[0], rows[1], stencil.rows):
        y = p * stencil.down_advance
        for q in range(0, columns, tile.lanes):
            source, given = image + (y * width + q * stencil.advance), gradient + (p * columns + q)
            row, edge = masks + q // tile.lanes * stencil.masks, (-y, height - y)
            following = ahead[0] + number * ahead[2], ahead[1] + number * ahead[3], ahead[2], ahead[3]
            add_tiles(tile, stencil, source, given, sums, row, edge, extents, count, following)
            number += 1


@jit
def add_share(tile, stencil, rest, masks, shape, extents, operands, fetched, thread, threads):
    """The parts and blocks of channels that are this thread's; rest: for the rows that no whole tile is left for.

    shape: (images, channels, parts, blocks, at most so many planes at a time, rows of the image, rows of gradients)
    fetched: elements of image and gradient asked for with a tile, and whether planes are brought near before that
    """
    grad_output, x, sums = operands
    images, channels, parts, blocks, most, height, target_rows = shape
    size, _, result, _ = extents
    whole, taps = target_rows // stencil.rows * stencil.rows, tile.rows * tile.lanes
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    source, gradient = pointer(tile, x, 0), pointer(tile, grad_output, 0)
    totals, table = pointer(tile, sums, 0), pointer(tile, masks, 0)
    first_task, end_task = share(thread, threads, parts * blocks)
    for task in range(first_task, end_task):
        part, (begin, last) = task // blocks, share(task % blocks, blocks, channels)
        own = totals + part * channels * taps
        clear(tile, own + begin * taps, (last - begin) * taps)
        first, end = share(part, parts, images)
        groups = (last - begin + most - 1) // most  # alike, so that each asks for all of the next
        for n in range(first, end):
            for group in range(groups):
                k, until = share(group, groups, last - begin)
                plane, count = n * channels + begin + k, until - k
                following = plane + count if group + 1 < groups else (n + 1) * channels + begin
                ahead = source + following * size, gradient + following * result, fetched[0], fetched[1]
                places = source + plane * size, gradient + plane * result, own + (begin + k) * taps
                if fetched[2]:
                    bring(tile, places[0], count * size)
                    bring(tile, places[1], count * result)
                add_rows_of_planes(tile, stencil, table, height, extents, places, (0, whole), count, ahead)
                add_rows_of_planes(tile, rest, table, height, extents, places, (whole, target_rows), count, ahead)


@threaded
def add_all(tile, stencil, rest, masks, shape, extents, operands, fetched, threads):
    for thread in prange(threads):
        add_share(tile, stencil, rest, masks, shape, extents, operands, fetched, np.intp(thread), threads)


class BackwardWeight:
    """A plan for the gradient with respect to the weight (C, 1, R, S).  One call at a time."""

    def __init__(self, problem, threads=1):
        self.problem = problem
        vertical, horizontal = forward_axes(problem)
        rows = rows_for(problem)
        self.tile = Tile(problem.R * problem.S, 1, problem.dtype)
        heights = rows, problem.P % rows or rows
        self.stencils = [Stencil(vertical, horizontal, height, self.tile) for height in heights]
        self.masks = self.stencils[0].masks
        blocks = min(problem.K, max(PARTS, -(-problem.K // BLOCK)))
        parts = max(1, min(problem.N, PARTS // max(1, blocks)))
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), parts * blocks))
        planes = problem.H * problem.W, problem.P * problem.Q
        tiles = -(-problem.P // rows) * len(self.masks)
        together, fetched = planes_together(planes, tiles, self.tile.itemsize)
        brought = self.threads == 1 and not far_caches() and exceed_caches(problem, BROUGHT_SHARE)
        self.fetched = *fetched, brought
        self.shape = problem.N, problem.K, parts, blocks, together, problem.H, problem.P
        self.extents = planes[0], problem.W, planes[1], problem.Q
        self.sums = np.zeros((parts, problem.K * self.tile.rows * self.tile.lanes), problem.dtype)
        self.workspace_bytes = self.sums.nbytes

    def __call__(self, grad_output, x, out):
        """Write the gradient (C, 1, R, S) into ``out``, for grad_output (N, C, P, Q) and x (N, C, H, W)."""
        operands = grad_output.reshape(-1), x.reshape(-1), self.sums.reshape(-1)
        add_all(self.tile, *self.stencils, self.masks, self.shape, self.extents, operands, self.fetched, self.threads)
        add_lanes(self.tile, self.sums, out.reshape(-1), threads_for(self.threads, self.sums.size, GRAIN))
        return out


def rows_for(problem):
    """The rows of gradients of a tile: as many as registers hold beside the sums, cut into even tiles."""
    taps = problem.R * problem.S
    most = max(1, min(MOST_ROWS, registers() - taps - problem.S, MOST_PRODUCTS // taps))
    return even(problem.P, most, 1)
