"""The gradient of the weight straight from that of pooled pixels: neither is spread over the large output (NHWC).

    grad_weight[(r, s, c), k] = sum over windows w, places n of x[pixel(w, n) + (r, s, c)] * grad[w, k] [position[w, k] = n]

Elements of a window of the convolution are the rows of A, as in ``implicit_gemm_weight_cpu``; the row of B is the gradient of
a pooling window, selected by its position in registers, four times.  The gradient of the bias is one more row of the sums:
what ReLU has not cut off.  *Parts* of the images, whose number depends on the problem alone, are summed apart and added in
order.

Source: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014, for the implicit matrix.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.places import block, rows_at
from ..cpu.pooled import one_windows_positions, received, uncut
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry
from ..cpu.sums import add_parts
from ..cpu.tile import add_tile, fitting, load_tile, pointer, prefetch_tile, rank1, store_tile, zero
from ..cpu.tile_rows import one_row
from ..cpu.workspace import workspace
from ..problems.pooled import WINDOW
from .frame_cpu import frame_band
from .pooled_tables import pooled_tables

TILES = (8, 2), (9, 2), (6, 4), (9, 1), (6, 2), (4, 3)
"""(rows, vectors): with more rows the addresses no longer fit in the registers."""

PARTS = 16
"""The most parts: as many as there are threads to use them on common machines."""

PARTS_BYTES = 4 * 1024 * 1024
"""The most memory for the sums of all parts: they must stay in the caches."""


@jit
def add_bias(tile, windows, grad, places, pitch, count, sums, first):
    """sums[:count] (+)= the gradients of a band that ReLU has let through; one panel of channels."""
    row, bytes_of = one_row(tile), one_windows_positions(tile)
    total = zero(row)
    for w in range(windows):
        gradient = load_tile(row, block(row, grad + w * pitch, 0, 1, count))
        total = add_tile(total, uncut(gradient, load_tile(bytes_of, block(bytes_of, places + w * pitch, 0, 1, count))))
    place = block(row, sums, 0, 1, count)
    store_tile(total if first else add_tile(total, load_tile(row, place)), place)


@inlined
def sum_windows(tile, a, sources, windows, grad, places, pitch, count):
    """The sum over the windows of a band and their places of elements ``a`` times a row of ``count`` channels."""
    row, bytes_of = one_row(tile), one_windows_positions(tile)
    total = zero(tile)
    for w in range(windows):
        gradient = load_tile(row, block(row, grad + w * pitch, 0, 1, count))
        found = load_tile(bytes_of, block(bytes_of, places + w * pitch, 0, 1, count))
        for n in range(WINDOW * WINDOW):
            total = rank1(total, a + entry(sources, 4 * w + n), received(gradient, found, n))
    return total


@jit
def add_band(tile, addresses, shape, windows, source, grad, places, first, sums):
    """sums (+)= the products of one band: for each group, panel of columns, tile of rows, the sum over windows and places.

    addresses: sources and elements of ``PooledTables``; shape: (groups, input and output channels of all, depth); all but
    the numbers are pointers, source to the frame, grad and places to the band; first: whether ``sums`` is overwritten
    """
    sources, elements = addresses
    groups, input_channels, output_channels, depth = shape
    inner, width = input_channels // groups, output_channels // groups
    for g in range(groups):
        for j in range(0, width, tile.columns):
            k, count = g * width + j, width - j
            for i in range(0, depth, tile.rows):
                place = block(tile, sums + (i * output_channels + k), output_channels, depth - i, count)
                prefetch_tile(place)
                a = rows_at(tile, source + g * inner, elements + i, depth - i)
                if count >= tile.columns:  # a constant leaves no masks
                    total = sum_windows(tile, a, sources, windows, grad + k, places + k, output_channels, tile.columns)
                else:
                    total = sum_windows(tile, a, sources, windows, grad + k, places + k, output_channels, count)
                if not first:
                    total = add_tile(total, load_tile(tile, place))
                store_tile(total, place)
            bias = sums + (depth * output_channels + k)
            add_bias(tile, windows, grad + k, places + k, output_channels, count, bias, first)


@jit
def add_share(tile, tables, bands, extents, shape, operands, frames, thread, threads):
    """The parts that are this thread's: frame each band if it must be, then add its products."""
    grad, places, x, sums = operands
    images, rows, columns, window_rows, window_columns = extents
    count, band_rows, advance, top, left, height, width, framed = bands
    input_channels, output_channels = shape[1:3]
    addresses = pointer(tile, tables[0], 0), pointer(tile, tables[1], 0)
    frame = pointer(tile, frames, thread * frames.shape[1])
    # Addresses before the loops: an array used in them would count its references, which two threads do by turns.
    images_of, gradients, positions_of = pointer(tile, x, 0), pointer(tile, grad, 0), pointer(tile, places, 0)
    totals, parts, size = pointer(tile, sums, 0), sums.shape[0], sums.shape[1]
    first_part, end_part = share(thread, threads, parts)
    for part in range(first_part, end_part):
        first, end = share(part, parts, images * count)
        for task in range(first, end):
            n, band = task // count, task % count
            image = images_of + n * rows * columns * input_channels
            source = image + band * advance * columns * input_channels
            if framed:
                frame_band(tile, image, (rows, columns, input_channels), band * advance + top, left, height, width, frame)
                source = frame
            row = band * (band_rows // WINDOW)
            origin = (n * window_rows + row) * window_columns * output_channels
            windows = min(band_rows // WINDOW, window_rows - row) * window_columns
            given, found, total = gradients + origin, positions_of + origin, totals + part * size
            add_band(tile, addresses, shape, windows, source, given, found, task == first, total)


@threaded
def add_all(tile, tables, bands, extents, shape, operands, frames, threads):
    for thread in prange(threads):
        add_share(tile, tables, bands, extents, shape, operands, frames, np.intp(thread), threads)


class BackwardWeight:
    """A plan for the gradients of the weight (R, S, C / groups, K) and of the bias.  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem, conv = problem, problem.conv
        self.tile = tile or fitting(TILES, conv.K // conv.groups, conv.dtype, conv.depth)
        tables = pooled_tables(problem)
        self.bands, self.tables = tables.bands, (tables.sources, tables.elements)
        self.extents, self.shape = (conv.N, conv.H, conv.W, problem.P, problem.Q), (conv.groups, conv.C, conv.K, conv.depth)
        size = (conv.depth + 1) * conv.K
        itemsize = np.dtype(conv.dtype).itemsize
        parts = max(1, min(conv.N * self.bands.number, PARTS_BYTES // (size * itemsize), PARTS))
        self.threads = max(1, min(threads_for(threads, conv.flops, THREAD_FLOPS), parts))
        self.frames = workspace(self.threads, self.bands.height * self.bands.width * conv.C, conv.dtype)
        self.sums = np.zeros((parts, size), conv.dtype)
        self.of_weight, self.of_bias = np.split(self.sums, [conv.depth * conv.K], axis=1)
        self.workspace_bytes = self.frames.nbytes + self.sums.nbytes

    def __call__(self, grad, positions, x, out, grad_bias=None):
        """Write the gradient of the weight into ``out``, that of the bias into ``grad_bias``.

        Parameters
        ----------
        grad, positions : (N, P // 2, Q // 2, K), C-contiguous
            The gradient of the maxima, and where forward found them, uint8.
        x : (N, H, W, C), C-contiguous
        out : (R, S, C / groups, K)
        grad_bias : (K,), optional
        """
        if not self.problem.N:
            self.sums.fill(0)
        operands = grad.reshape(-1), positions.reshape(-1), x.reshape(-1), self.sums
        add_all(self.tile, self.tables, tuple(self.bands), self.extents, self.shape, operands, self.frames, self.threads)
        add_parts(self.of_weight, out.reshape(-1), self.threads)
        if grad_bias is not None:
            add_parts(self.of_bias, grad_bias, self.threads)
        return out
