"""Depthwise convolution and its transpose on planes: a window for each plane, lanes over the pixels of a row (NCHW).

    out[k, p, q] = sum over r, s of x[k, p * stride + r - top, q * stride + s - left] * weight[k, r, s]

A tile is some rows of outputs, one vector wide.  The rows of the image slide under the window from top to bottom: each is
loaded once for every column of taps, and multiplied with all rows of taps that it meets (``cpu/stencil``).  Planes are read
where they are, without a frame: masks leave out the columns that do not exist.  In the transpose other pixels meet, and
nothing else differs.

Source: Zhang, Lo & Lu, "High Performance Depthwise and Pointwise Convolutions on Mobile Devices", 2020.
"""

from math import prod

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import registers
from ..cpu.stencil import Stencil, interleave, load_rows, store_rows, sweep
from ..cpu.tile import Tile, add_tile, pointer, rectify
from ..cpu.workspace import aligned, even
from .frame_cpu import ask_for, bring
from .geometry import forward_axes, transposed_axes
from .walk import BROUGHT_SHARE, exceed_caches, planes_together

SUMS_SHARE = 2
"""Of the registers, for the sums of a tile; the others hold taps and columns."""

MOST_PRODUCTS = 256
"""Of vectors in the code of a tile."""

TILE_CYCLES = 12
"""What setting up a tile costs."""

MOST_STRIDE = 4
"""Beyond, nearly all that is loaded is not used, or nearly all registers are phases."""

MOST_TAPS = 49
"""Products of all taps are written out in the code."""


@jit
def convolve_tiles(tile, stencil, source, target, addend, weights, bias, masks, edge, extents, count, flags, ahead):
    """The tile at one place in each of ``count`` planes, one after another.

    source: at row 0 and column 0 of the first; edge: (first row that exists, first that does not)
    extents: (elements of a plane, columns) of the source, then of the target, and taps; flags: (adds, rectifies)
    ahead: (source, target that come next, elements of each that are asked for with a tile, and so many tiles from now)
    """
    size, width, result, pitch, taps = extents
    stored = masks + stencil.loads
    for c in range(count):
        ask_for(tile, ahead[0] + c * size, ahead[2], 0, 1)
        ask_for(tile, ahead[1] + c * result, ahead[3], 0, 1)
        total = sweep(tile, stencil, bias + c, source + c * size, width, weights + c * taps, masks, edge)
        total = interleave(total)
        if flags[0]:
            total = add_tile(total, load_rows(tile, addend + c * result, pitch, stored))
        if flags[1]:
            total = rectify(total)
        store_rows(total, target + c * result, pitch, stored)


@jit
def convolve_rows(tile, stencil, masks, height, extents, places, rows, count, flags, fetched):
    """The rows of outputs from the first of ``rows`` to the last in each of ``count`` planes, in whole tiles.

    masks: of the tiles of a row, a table; height: rows of the source; places: (source, target, addend, weights, bias)
    fetched: elements of source and target that are asked for with a tile, and how many tiles later they come
    """
    source, target, addend, weights, bias = places
    size, width, result, columns, _ = extents
    tiles = (columns + tile.columns - 1) // tile.columns
    number = rows[0] // stencil.rows * tiles
    for p in range(rows[0], rows[1], stencil.rows):
        y = p // stencil.down_step * stencil.down_advance
        for q in range(0, columns, tile.columns):
            image, place = source + (y * width + q // stencil.step * stencil.advance), p * columns + q
            row = masks + q // tile.columns * stencil.masks
            edge = -y, height - y
            far, others = number + fetched[2], count - 1
            ahead = source + (others * size + far * fetched[0]), target + (others * result + far * fetched[1]), *fetched
            convolve_tiles(
                tile, stencil, image, target + place, addend + place, weights, bias, row, edge, extents, count, flags, ahead
            )
            number += 1


@jit
def convolve_share(tile, last, stencil, rest, masks, shape, extents, operands, flags, fetched, thread, threads):
    """The blocks of planes that are this thread's; last, rest: for the rows that no whole tile is left for.

    shape: (images, channels, blocks of them, rows of the source, rows of the target)
    flags: (adds, rectifies, whether planes are brought near before they are computed)
    """
    images, channels, blocks, height, target_rows = shape
    size, _, result, _, taps = extents
    x, packed, bias, residual, out = operands
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    source, target, table = pointer(tile, x, 0), pointer(tile, out, 0), pointer(tile, masks, 0)
    weights, biases, addend = pointer(tile, packed, 0), pointer(tile, bias, 0), pointer(tile, residual, 0)
    whole = target_rows // stencil.rows * stencil.rows
    first, end = share(thread, threads, images * blocks)
    for task in range(first, end):
        n, (begin, until) = task // blocks, share(task % blocks, blocks, channels)
        plane = n * channels + begin
        places = (
            source + plane * size,
            target + plane * result,
            addend + plane * result,
            weights + begin * taps,
            biases + begin,
        )
        if flags[2]:
            bring(tile, places[0], (until - begin) * size)
        convolve_rows(tile, stencil, table, height, extents, places, (0, whole), until - begin, flags, fetched)
        convolve_rows(last, rest, table, height, extents, places, (whole, target_rows), until - begin, flags, fetched)


@threaded
def convolve(tile, last, stencil, rest, masks, shape, extents, operands, flags, fetched, threads):
    for thread in prange(threads):
        number = np.intp(thread)
        convolve_share(tile, last, stencil, rest, masks, shape, extents, operands, flags, fetched, number, threads)


class _Depthwise:
    """What the plans of both directions share; source, target: (rows, columns) of the planes that are read and written."""

    workspace_bytes = 0

    def __init__(self, problem, threads, axes, source, target):
        self.problem = problem
        vertical, horizontal = axes
        rows = rows_for(vertical, horizontal, problem)
        self.tiles = [Tile(height, horizontal.step, problem.dtype) for height in (rows, vertical.target % rows or rows)]
        self.tile = self.tiles[0]
        self.stencils = [Stencil(vertical, horizontal, tile.rows, tile.lanes) for tile in self.tiles]
        self.masks = self.stencils[0].masks
        planes = prod(source), prod(target)
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        tiles = -(-target[0] // rows) * len(self.masks)
        together, self.fetched = planes_together(planes, tiles, self.tile.itemsize)
        blocks = -(-problem.K // even(problem.K, min(together, -(-problem.N * problem.K // threads)), 1))
        self.threads = max(1, min(threads, problem.N * blocks))
        self.shape = problem.N, problem.K, blocks, source[0], target[0]
        self.extents = planes[0], source[1], planes[1], target[1], problem.R * problem.S
        self.brought = self.threads == 1 and exceed_caches(problem, BROUGHT_SHARE)
        self.no_bias = np.zeros(problem.K, problem.dtype)

    def pack(self, weight, packed=None):
        """The weight (K, 1, R, S), of any strides, as one line."""
        if packed is None:
            packed = aligned(weight.size, weight.dtype)
        np.copyto(packed[: weight.size].reshape(weight.shape), weight)
        return packed

    def _run(self, x, packed, bias, residual, activation, out):
        operands = (
            x.reshape(-1),
            packed,
            self.no_bias if bias is None else bias,
            (out if residual is None else residual).reshape(-1),
            out.reshape(-1),
        )
        flags = residual is not None, activation == "relu", self.brought
        convolve(
            *self.tiles, *self.stencils, self.masks, self.shape, self.extents, operands, flags, self.fetched, self.threads
        )
        return out


class Forward(_Depthwise):
    """A plan for the convolution of NCHW images of one shape."""

    def __init__(self, problem, threads=1):
        super().__init__(problem, threads, forward_axes(problem), (problem.H, problem.W), (problem.P, problem.Q))

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        """Write activation(conv(x, weight) + bias + residual) into ``out``.

        Parameters
        ----------
        x : (N, C, H, W), C-contiguous
        packed : what ``pack`` returned
        out, residual : (N, C, P, Q), C-contiguous
        bias : (C,)
        activation : None or "relu"
        """
        return self._run(x, packed, bias, residual, activation, out)


class BackwardInput(_Depthwise):
    """A plan for the gradient with respect to the input: the transpose, from (N, C, P, Q) to (N, C, H, W)."""

    def __init__(self, problem, threads=1):
        super().__init__(problem, threads, transposed_axes(problem), (problem.P, problem.Q), (problem.H, problem.W))

    def __call__(self, grad_output, packed, out):
        """Write the gradient (N, C, H, W) for the gradient (N, C, P, Q) of the output into ``out``; all C-contiguous."""
        return self._run(grad_output, packed, None, None, None, out)


def rows_for(vertical, horizontal, problem):
    """The rows of the tile with which a plane takes least time: few rows of the source are loaded twice.

    A cycle has two products of vectors, or one load of a vector that lies in two cache lines.
    """
    most = registers() // SUMS_SHARE // horizontal.step
    most = min(most, MOST_PRODUCTS * vertical.step // (problem.R * problem.S)) // vertical.step * vertical.step

    lanes = Tile(1, 1, problem.dtype).lanes

    def cycles(rows):
        stencil = Stencil(vertical, horizontal, rows, lanes)
        products = rows * problem.R * problem.S / vertical.step
        return max(stencil.source_rows * stencil.loads, products / 2) + TILE_CYCLES

    def cost(rows):
        whole, rest = divmod(vertical.target, rows)
        return whole * cycles(rows) + (cycles(rest) if rest else 0)

    return min(range(vertical.step, max(most, vertical.step) + 1, vertical.step), key=cost)


def refuses(problem):
    """Why this kernel cannot compute ``problem``."""
    against = []
    if not problem.groups == problem.C == problem.K:
        against.append("it takes one channel in and one out for each group alone")
    if max(problem.stride) > MOST_STRIDE or problem.R * problem.S > MOST_TAPS:
        against.append(f"it takes strides up to {MOST_STRIDE} and windows of up to {MOST_TAPS} taps")
    return tuple(against)
