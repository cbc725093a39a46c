"""Depthwise convolution and its transpose: a window for each channel, so that lanes are channels and never meet (NHWC).

    out[p, q, k] = sum over r, s of x[p * stride + r - top, q * stride + s - left, k] * weight[r, s, k]

A tile is a few pixels of a row of outputs times one or two vectors of channels.  A row of taps stays in registers while it
slides over a row of the image: each pixel is loaded once and multiplied with every tap that it meets.  Images are read where
they are, strip by strip (``walk``); tiles at their edges leave out the columns that do not exist.  In the transpose other
pixels meet, and nothing else differs.

Source: Zhang, Lo & Lu, "High Performance Depthwise and Pointwise Convolutions on Mobile Devices", 2020.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.places import block, columns
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry
from ..cpu.tile import (
    Tile,
    add_tile,
    load_tile,
    pointer,
    rectify,
    spread_columns,
    store_tile,
    stream_tile,
    streamed,
)
from ..cpu.window import Window, fetch, slide, slide_at_edge
from ..cpu.workspace import aligned
from .frame_cpu import flat, pack_panels
from .geometry import forward_axes, transposed_axes
from .walk import row_table, walk_of

PIXELS = 8
"""The most pixels in a tile: with two vectors of each and a row of taps they fill the registers."""

MOST_TAPS = 24
"""In a row: they are written out in the code, and in the gradient of the weight their sums fill the registers."""


@inlined
def sum_rows(tile, window, total, source, pitches, meetings, weights):
    """total + the products of the rows that a row of targets meets with their rows of taps; all columns exist."""
    table, first, end = meetings
    for i in range(first, end):
        row = weights + entry(table, 2 * i + 1) * window.taps * tile.columns
        total = slide(window, total, source + entry(table, 2 * i) * pitches[0], pitches[1], row)
    return total


@inlined
def sum_rows_at_edge(tile, window, total, source, pitches, meetings, weights, edge):
    """The same where columns or channels do not exist."""
    table, first, end = meetings
    for i in range(first, end):
        row = weights + entry(table, 2 * i + 1) * window.taps * tile.columns
        total = slide_at_edge(window, total, source + entry(table, 2 * i) * pitches[0], pitches[1], row, edge)
    return total


@jit
def convolve_row(tile, window, image, meetings, ahead, strides, weights, extent, epilogue, target):
    """A strip's part of one row of outputs.

    meetings: (table, from, to); ahead: (first, number) of the rows to be fetched; strides: of the horizontal axis, (step,
    advance, taps of a window, columns of the image); extent: (first pixel, last, all), (first channel, last, all);
    image, weights, target: at channel 0
    """
    step, advance, taps, width = strides
    (start, end, pixels), (begin, last, channels) = extent
    bias, residual, adds, rectifies, streams = epilogue
    pitches = width * channels, channels
    for q in range(start, end, tile.rows):
        column = q // step * advance
        inside = column + window.first >= 0 and column + window.last < width
        for k in range(begin, last, tile.columns):
            count = channels - k
            source, panel = image + (column * channels + k), weights + k * taps
            place = target + (q * channels + k)
            if inside and count >= tile.columns:
                total = spread_columns(tile, columns(tile, bias + k, tile.columns))
                total = sum_rows(tile, window, total, source, pitches, meetings, panel)
            else:
                edge = -column, width - column, count
                total = spread_columns(tile, columns(tile, bias + k, count))
                total = sum_rows_at_edge(tile, window, total, source, pitches, meetings, panel, edge)
            for row in range(ahead[1]):
                fetch(tile, window, source + (ahead[0] + row) * pitches[0], channels)
            if adds:
                other = block(tile, residual + (q * channels + k), channels, pixels - q, count)
                total = add_tile(total, load_tile(tile, other))
            if rectifies:
                total = rectify(total)
            if pixels - q < tile.rows or count < tile.columns:
                store_tile(total, block(tile, place, channels, pixels - q, count))
            elif streams:
                stream_tile(total, block(tile, place, channels, tile.rows, tile.columns))
            else:
                store_tile(total, block(tile, place, channels, tile.rows, tile.columns))


@jit
def convolve_strip(tile, window, tables, walk, extents, steps, operands, flags, rows, strip):
    """The rows of outputs of a band, from top to bottom: one strip of them.

    rows: (image, first row, last); strip: (first pixel, first channel)
    """
    x, packed, bias, residual, out = operands
    _, _, source_rows, source_columns, target_rows, target_columns, channels = extents
    step, advance, last_reach = steps[:3]
    (n, first, end), (q, k) = rows, strip
    extent = (q, min(q + walk[0], target_columns), target_columns), (k, min(k + walk[1], channels), channels)
    begins, meetings = pointer(tile, tables[0], 0), pointer(tile, tables[1], 0)
    image = pointer(tile, x, n * source_rows * source_columns * channels)
    for p in range(first, end):
        origin = (n * target_rows + p) * target_columns * channels
        newest = p // step * advance + last_reach
        convolve_row(
            tile,
            window,
            image,
            (meetings, entry(begins, p), entry(begins, p + 1)),
            (newest + 1, (p + 1) // step * advance + last_reach - newest if walk[2] else 0),
            steps[3:],
            pointer(tile, packed, 0),
            extent,
            (pointer(tile, bias, 0), pointer(tile, residual, origin), *flags),
            pointer(tile, out, origin),
        )


@threaded
def convolve(tile, window, tables, walk, extents, steps, operands, flags, threads):
    images, bands, _, _, target_rows, target_columns, channels = extents
    for thread in prange(threads):
        first_task, end_task = share(np.intp(thread), threads, images * bands)
        for task in range(first_task, end_task):
            n, (first, end) = task // bands, share(task % bands, bands, target_rows)
            for k in range(0, channels, walk[1]):
                for q in range(0, target_columns, walk[0]):
                    convolve_strip(tile, window, tables, walk, extents, steps, operands, flags, (n, first, end), (q, k))
        streamed(tile)


class _Depthwise:
    """What the plans of both directions share.

    axes: (vertical, horizontal); source, target: (rows, columns) of the images that are read and written.
    """

    workspace_bytes = 0

    def __init__(self, problem, threads, axes, source, target, tile):
        self.problem = problem
        vertical, horizontal = axes
        self.tile = tile or tile_for(horizontal, problem)
        self.window = Window(horizontal, self.tile.rows)
        self.panels = -(-problem.K // self.tile.columns)
        self.walk = walk_of(vertical, horizontal, self.window, problem.K, self.tile, problem.bytes)
        self.tables = row_table(vertical)
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        bands = 1 if problem.N % threads == 0 else min(target[0], 4 * threads)
        self.threads = max(1, min(threads, problem.N * bands))
        self.extents = problem.N, bands, *source, *target, problem.K
        down = vertical.step, vertical.advance, vertical.last
        self.steps = *down, horizontal.step, horizontal.advance, problem.R * problem.S, source[1]
        self.no_bias = np.zeros(problem.K, problem.dtype)

    def pack(self, weight, packed=None):
        """Panels of the weight (R, S, 1, K), of any strides."""
        problem = self.problem
        if packed is None:
            packed = aligned(problem.R * problem.S * self.panels * self.tile.columns, weight.dtype)
        line, (down, right, _, column) = flat(weight)
        taps = np.array(list(np.ndindex(problem.R, problem.S)))
        pack_panels(self.tile, line, (down, right, 0, column, 0), taps, 1, problem.K, 1, packed, 0)
        return packed

    def _run(self, x, packed, bias, residual, activation, out):
        operands = (
            x.reshape(-1),
            packed,
            self.no_bias if bias is None else bias,
            (out if residual is None else residual).reshape(-1),
            out.reshape(-1),
        )
        aligned = self.problem.K % self.tile.lanes == 0 and out.ctypes.data % (self.tile.lanes * out.itemsize) == 0
        flags = residual is not None, activation == "relu", self.walk.streamed and aligned
        shapes = tuple(self.walk), self.extents, self.steps
        convolve(self.tile, self.window, self.tables, *shapes, operands, flags, self.threads)
        return out


class Forward(_Depthwise):
    """A plan for the convolution of NHWC images of one shape."""

    def __init__(self, problem, threads=1, tile=None):
        super().__init__(problem, threads, forward_axes(problem), (problem.H, problem.W), (problem.P, problem.Q), tile)

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        """Write activation(conv(x, weight) + bias + residual) into ``out``.

        Parameters
        ----------
        x : (N, H, W, C), C-contiguous
        packed : what ``pack`` returned
        out, residual : (N, P, Q, C), C-contiguous
        bias : (C,)
        activation : None or "relu"
        """
        return self._run(x, packed, bias, residual, activation, out)


class BackwardInput(_Depthwise):
    """A plan for the gradient with respect to the input: the transpose, from (N, P, Q, C) to (N, H, W, C)."""

    def __init__(self, problem, threads=1, tile=None):
        super().__init__(problem, threads, transposed_axes(problem), (problem.P, problem.Q), (problem.H, problem.W), tile)

    def __call__(self, grad_output, packed, out):
        """Write the gradient (N, H, W, C) for the gradient (N, P, Q, C) of the output into ``out``; all C-contiguous."""
        return self._run(grad_output, packed, None, None, None, out)


TILE_COST = 2
"""What setting up a tile costs, in pixels."""


def tile_for(horizontal, problem):
    """The tile with which a row of outputs costs least: few tiles, few pixels beyond the row's end; a multiple of ``step``."""
    lanes = Tile(1, 1, problem.dtype).lanes
    vectors = 2 if lanes < problem.K and Tile(PIXELS, 2, problem.dtype).fits() else 1
    heights = range(horizontal.step, PIXELS + 1, horizontal.step)
    rows = min(heights, key=lambda rows: -(-horizontal.target // rows) * (rows + TILE_COST))
    return Tile(rows, vectors, problem.dtype)


def refuses(problem):
    """Why this kernel cannot compute ``problem``."""
    against = []
    if not problem.groups == problem.C == problem.K:
        against.append("it takes one channel in and one out for each group alone")
    if problem.stride[1] > PIXELS or problem.S > MOST_TAPS:
        against.append(f"it takes strides up to {PIXELS} and windows up to {MOST_TAPS} wide")
    return tuple(against)
