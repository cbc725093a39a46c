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
from ..cpu.places import block, columns, panel
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry, prefetch_further
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
from .frame_cpu import bring, flat, pack_panels
from .geometry import forward_axes, transposed_axes
from .walk import NO_ORDER, Walk, goes_in_order, order_of, row_table, walk_of

PIXELS = 8
"""The most pixels in a tile: with two vectors of each and a row of taps they fill the registers."""

MOST_TAPS = 32
"""In a row: they are written out in the code.

From 24 on they leave the registers, and in the gradient of the weight their sums do.  On a Granite Rapids 31x31 took so half
of the time of direct convolution forward, 0.55 in the gradient of the input.
"""


@inlined
def finish(tile, total, residual, place, flags):
    """Store a tile; flags: (adds, rectifies, streams)."""
    if flags[0]:
        total = add_tile(total, load_tile(tile, residual))
    if flags[1]:
        total = rectify(total)
    if flags[2]:
        stream_tile(total, place)
    else:
        store_tile(total, place)


@inlined
def convolve_whole(tile, window, source, pitches, meetings, panels, edge, epilogue, place):
    """A tile of outputs, all of which exist.

    source: the image at the tile's column 0 and first channel; meetings: (table, from, to); panels: of the block of channels
    edge: (first column that exists, first that does not); epilogue: (bias, residual, flags)
    """
    table, first, end = meetings
    bias, residual, flags = epilogue
    total = spread_columns(tile, panel(tile, bias))
    for i in range(first, end):
        row = panels + entry(table, 2 * i + 1) * window.taps * tile.columns
        total = slide(window, total, source + entry(table, 2 * i) * pitches[0], pitches[1], row, edge)
    other = block(tile, residual, pitches[1], tile.rows, tile.columns)
    finish(tile, total, other, block(tile, place, pitches[1], tile.rows, tile.columns), flags)


@jit
def convolve_rest(tile, window, source, pitches, meetings, panels, edge, epilogue, place, rows):
    """A tile beyond which the row of outputs, or the channels, end: of ``rows`` pixels; ``edge`` goes on with the channels."""
    table, first, end = meetings
    bias, residual, flags = epilogue
    total = spread_columns(tile, columns(tile, bias, edge[2]))
    for i in range(first, end):
        row = panels + entry(table, 2 * i + 1) * window.taps * tile.columns
        total = slide_at_edge(window, total, source + entry(table, 2 * i) * pitches[0], pitches[1], row, edge)
    other = block(tile, residual, pitches[1], rows, edge[2])
    finish(tile, total, other, block(tile, place, pitches[1], rows, edge[2]), (flags[0], flags[1], False))


@jit
def convolve_strip(tile, window, tables, extents, operands, flags, rows, strip, ahead):
    """The rows of outputs of a band, from top to bottom: one strip of them.

    tables: (rows, meetings) of ``row_table``; flags: (adds, rectifies, streams, whether rows are asked for ahead of time)
    rows: (image, first row, last); strip: (first pixel, last), (first channel, last)
    ahead: an ``Order``
    """
    x, packed, bias, residual, out = operands
    _, _, source_rows, width, target_rows, pixels, channels, taps = extents
    (n, first, end), ((start, stop), (begin, last)) = rows, strip
    pitches, image = (width * channels, channels), x + n * source_rows * width * channels
    for p in range(first, end):
        origin = (n * target_rows + p) * pixels * channels
        meetings = tables[1], entry(tables[0], 2 * p), entry(tables[0], 2 * p + 2)
        fresh, until = entry(tables[0], 2 * p + 1), entry(tables[0], 2 * p + 3)
        asked, written = image + (p * ahead[0] + ahead[1]), out + (origin + ahead[3])
        for q in range(start, stop, tile.rows):
            column = q // window.step * window.advance
            edge, left = (-column, width - column), pixels - q
            for k in range(begin, last, tile.columns):
                source, place, panels = image + (column * channels + k), origin + q * channels + k, packed + k * taps
                epilogue = bias + k, residual + place, (flags[0], flags[1], flags[2])
                for j in range(ahead[2]):
                    prefetch_further(asked + j * tile.lanes)
                for j in range(ahead[4]):
                    prefetch_further(written + j * tile.lanes)
                asked, written = asked + ahead[2] * tile.lanes, written + ahead[4] * tile.lanes
                if flags[3]:
                    for row in range(fresh, until):
                        fetch(tile, window, source + row * pitches[0], channels)
                if left >= tile.rows and last - k >= tile.columns:
                    convolve_whole(tile, window, source, pitches, meetings, panels, edge, epilogue, out + place)
                else:
                    edges = edge[0], edge[1], last - k
                    convolve_rest(tile, window, source, pitches, meetings, panels, edges, epilogue, out + place, left)


@jit
def convolve_share(tile, window, tables, walk, ahead, extents, operands, flags, thread, threads):
    """The bands that are this thread's; walk: (pixels, channels) of a strip, rows under a window; ahead: an ``Order``.

    Of the last 0: rows are read where windows meet them; else those under a band are brought near before it is computed.
    """
    pixels, block, under = walk
    images, bands, height, width, target_rows, target_columns, channels, _ = extents
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    x, packed, bias, residual, out = operands
    places = (
        pointer(tile, x, 0),
        pointer(tile, packed, 0),
        pointer(tile, bias, 0),
        pointer(tile, residual, 0),
        pointer(tile, out, 0),
    )
    rows = pointer(tile, tables[0], 0), pointer(tile, tables[1], 0)
    first_task, end_task = share(thread, threads, images * bands)
    for task in range(first_task, end_task):
        n, (first, end) = task // bands, share(task % bands, bands, target_rows)
        if under:
            top, bottom = max(0, entry(rows[0], 2 * first + 1) - under), min(entry(rows[0], 2 * end - 1), height)
            bring(tile, places[0] + (n * height + top) * width * channels, (bottom - top) * width * channels)
        for k in range(0, channels, block):
            for q in range(0, target_columns, pixels):
                strip = (q, min(q + pixels, target_columns)), (k, min(k + block, channels))
                convolve_strip(tile, window, rows, extents, places, flags, (n, first, end), strip, ahead)
    streamed(tile)


@threaded
def convolve(tile, window, tables, walk, ahead, extents, operands, flags, threads):
    for thread in prange(threads):
        convolve_share(tile, window, tables, walk, ahead, extents, operands, flags, np.intp(thread), threads)


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
        self.order = NO_ORDER
        if goes_in_order(problem, vertical, source[1] * problem.K):
            self.walk = Walk(target[1], problem.K, self.walk.streamed, False, 0)
            self.order = order_of(vertical, source[1], target[1], problem.K, self.tile, self.walk.streamed)
        self.tables = row_table(vertical)
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        bands = 1 if problem.N % threads == 0 else min(target[0], 4 * threads)
        brought = self.walk.band if threads == 1 else 0
        if brought:
            bands = max(bands, -(-target[0] // brought))
        self.under = vertical.last - vertical.first + 1 if brought else 0
        self.threads = max(1, min(threads, problem.N * bands))
        self.extents = problem.N, bands, *source, *target, problem.K, problem.R * problem.S
        self.taps = np.array(list(np.ndindex(problem.R, problem.S)))
        self.no_bias = np.zeros(problem.K, problem.dtype)

    def pack(self, weight, packed=None):
        """Panels of the weight (R, S, 1, K), of any strides."""
        problem = self.problem
        if packed is None:
            packed = aligned(problem.R * problem.S * self.panels * self.tile.columns, weight.dtype)
        line, (down, right, _, column) = flat(weight)
        pack_panels(self.tile, line, (down, right, 0, column, 0), self.taps, 1, problem.K, 1, packed, 0)
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
        flags = residual is not None, activation == "relu", self.walk.streamed and aligned, self.walk.asked
        walk = self.walk.pixels, self.walk.channels, self.under
        convolve(self.tile, self.window, self.tables, walk, self.order, self.extents, operands, flags, self.threads)
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

PART_COST = 4
"""The same of a tile beyond which the row ends."""


def tile_for(horizontal, problem):
    """The tile with which a row of outputs costs least: few tiles, few pixels beyond the row's end; a multiple of ``step``."""
    lanes = Tile(1, 1, problem.dtype).lanes
    vectors = 2 if lanes < problem.K and Tile(PIXELS, 2, problem.dtype).fits() else 1

    def cost(rows):
        whole, rest = divmod(horizontal.target, rows)
        return whole * (rows + TILE_COST) + (rows + PART_COST if rest else 0)

    heights = range(horizontal.step, PIXELS + 1, horizontal.step)
    rows = min(heights, key=cost)
    return Tile(rows, vectors, problem.dtype)


def refuses(problem):
    """Why this kernel cannot compute ``problem``."""
    against = []
    if not problem.groups == problem.C == problem.K:
        against.append("it takes one channel in and one out for each group alone")
    if problem.stride[1] > PIXELS or problem.S > MOST_TAPS:
        against.append(f"it takes strides up to {PIXELS} and windows up to {MOST_TAPS} wide")
    return tuple(against)
