"""Convolution, bias, ReLU and 2 x 2 max pooling as one implicit matrix product: the large output never exists (NHWC).

As ``implicit_gemm_cpu``: a register tile of pixels x channels, the pixels addressed through a table.  Here the table lists
them window by window, so that every four rows of a tile are one window, whose maximum is taken before anything is stored.

Sources: Dukhan, "The Indirect Convolution Algorithm", 2019, for the table; the fusion is folklore.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, of_one_kind, threaded
from ..cpu.places import block, columns, panel, windows_at
from ..cpu.pooled import maxima, positions, window_positions, windows
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry
from ..cpu.tile import fitting, pointer, rank1, spread_columns, store_tile
from ..cpu.workspace import aligned, workspace
from ..problems.pooled import WINDOW
from .frame_cpu import flat, frame_band, pack_panels
from .pooled_tables import pooled_tables

TILES = (8, 2), (4, 4), (20, 1), (8, 1), (4, 2)
"""(rows, vectors): fours of rows, which have one address.

With 16 channels a row is one sum, and more of them wait less for each other and load fewer weights: LeNet-5's second layer
takes 405 µs with (20, 1) and 461 with (8, 1).
"""

WINDOW_PIXELS = WINDOW * WINDOW


@inlined
def store_windows(tile, total, out, places, pitch, rows, count, kept):
    """The maxima of a tile and, if ``kept``, their positions: ``rows`` x ``count`` of them, rows ``pitch`` apart."""
    store_tile(maxima(total), block(windows(tile), out, pitch, rows, count))
    if kept:
        store_tile(positions(total), block(window_positions(tile), places, pitch, rows, count))


@jit
def pool_band(tile, addresses, shape, pixels, source, packed, bias, out, places, kept):
    """The windows of one band: for each group, panel of channels and tile of pixels.

    addresses: sources and elements of ``PooledTables``; shape: (groups, input channels, output channels, depth); all but the
    numbers are pointers, source to the frame, out and places to the band in the output and in the positions
    """
    sources, elements = addresses
    groups, input_channels, output_channels, depth = shape
    inner, width, nr = input_channels // groups, output_channels // groups, tile.columns
    for g in range(groups):
        for j in range(0, width, nr):
            channel, count = g * width + j, width - j
            start = columns(tile, bias + channel, count)
            weights = packed + (g * ((width + nr - 1) // nr * nr) + j) * depth
            for p in range(0, pixels, tile.rows):
                a = windows_at(tile, source + g * inner, sources + p, pixels - p)
                total = spread_columns(tile, start)
                for k in range(depth):
                    total = rank1(total, a + entry(elements, k), panel(tile, weights + k * nr))
                place = p // WINDOW_PIXELS * output_channels + channel
                if pixels - p >= tile.rows and count >= nr:  # constants leave no masks, which would cost as much as the sum
                    store_windows(tile, total, out + place, places + place, output_channels, tile.rows // 4, nr, kept)
                else:
                    rows = (pixels - p) // WINDOW_PIXELS
                    store_windows(tile, total, out + place, places + place, output_channels, rows, count, kept)


@jit
def pool_share(tile, tables, bands, extents, shape, operands, kept, frames, thread, threads):
    """The bands that are this thread's: frame each if it must be, then convolve and pool it."""
    x, packed, bias, out, places = operands
    images, rows, columns, window_rows, window_columns = extents
    count, band_rows, advance, top, left, height, width, framed = bands
    input_channels, output_channels = shape[1:3]
    addresses = pointer(tile, tables[0], 0), pointer(tile, tables[1], 0)
    frame = pointer(tile, frames, thread * frames.shape[1])
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    weights, starts, results, positions_of = (
        pointer(tile, packed, 0),
        pointer(tile, bias, 0),
        pointer(tile, out, 0),
        pointer(tile, places, 0),
    )
    images_of = pointer(tile, x, 0)
    first, end = share(thread, threads, images * count)
    for task in range(first, end):
        n, band = task // count, task % count
        image = images_of + n * rows * columns * input_channels
        source = image + band * advance * columns * input_channels
        if framed:
            frame_band(tile, image, (rows, columns, input_channels), band * advance + top, left, height, width, frame)
            source = frame
        row = band * (band_rows // WINDOW)
        origin = (n * window_rows + row) * window_columns * output_channels
        pixels = min(band_rows // WINDOW, window_rows - row) * window_columns * WINDOW_PIXELS
        pool_band(tile, addresses, shape, pixels, source, weights, starts, results + origin, positions_of + origin, kept)


@threaded
def pool(tile, tables, bands, extents, shape, operands, kept, frames, threads):
    for thread in prange(threads):
        pool_share(tile, tables, bands, extents, shape, operands, kept, frames, np.intp(thread), threads)


class Forward:
    """A plan for the convolution and pooling of NHWC images of one shape.  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem, conv = problem, problem.conv
        tables = pooled_tables(problem)
        pixels = tables.bands.rows * WINDOW * problem.Q
        self.tile = tile or fitting(TILES, conv.K // conv.groups, conv.dtype, pixels)
        self.bands, self.taps, self.tables = tables.bands, tables.taps, (tables.sources, tables.elements)
        tasks = conv.N * self.bands.number
        self.threads = max(1, min(threads_for(threads, conv.flops, THREAD_FLOPS), tasks))
        self.extents, self.shape = (conv.N, conv.H, conv.W, problem.P, problem.Q), (conv.groups, conv.C, conv.K, conv.depth)
        self.frames = workspace(self.threads, self.bands.height * self.bands.width * conv.C, conv.dtype)
        self.no_bias, self.no_positions = np.zeros(conv.K, conv.dtype), np.zeros(1, np.uint8)
        self.workspace_bytes = self.frames.nbytes
        self._pool = of_one_kind(pool)

    def pack(self, weight, packed=None):
        """Panels of the weight (R, S, C / groups, K), of any strides."""
        conv = self.problem.conv
        width, inner = conv.K // conv.groups, conv.C // conv.groups
        if packed is None:
            panels = -(-width // self.tile.columns) * conv.groups
            packed = aligned(conv.depth * panels * self.tile.columns, weight.dtype)
        line, (down, right, row, column) = flat(weight)
        strides = down, right, row, column, column * width
        pack_panels(self.tile, line, strides, self.taps, inner, width, conv.groups, packed, 0)
        return packed

    def __call__(self, x, packed, out, positions=None, bias=None):
        """Write the maximum of each 2 x 2 window of relu(conv(x, weight) + bias) into ``out``.

        Parameters
        ----------
        x : (N, H, W, C), C-contiguous
        packed : what ``pack`` returned
        out : (N, P // 2, Q // 2, K), C-contiguous
        positions : the same shape, uint8, optional
            0 … 3: where in its window the first maximum was; 4 where ReLU set it to zero.
        bias : (K,)
        """
        operands = (
            x.reshape(-1),
            packed,
            self.no_bias if bias is None else bias,
            out.reshape(-1),
            (self.no_positions if positions is None else positions).reshape(-1),
        )
        kept = positions is not None
        bands = tuple(self.bands)
        self._pool(self.tile, self.tables, bands, self.extents, self.shape, operands, kept, self.frames, self.threads)
        return out
