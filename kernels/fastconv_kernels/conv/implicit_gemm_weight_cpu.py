"""Implicit matrix product, the gradient of the weight: the transposed matrix of windows times the gradient (NHWC).

    grad_weight[(r, s, c), k] = sum over images, pixels of x[window(pixel) + (r, s, c)] * grad_output[pixel, k]

The sum runs over pixels: elements of a window are the rows of A, one address each; the gradient of a pixel is the row of B,
used where it is.  The images are divided into *parts* whose sums are kept apart and added in order at the end.  How many
there are depends on the problem alone, so that any number of threads gives the same bits; where the weight is large, parts
would cost too much memory and threads divide its rows instead, which changes no sum.

Source: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014, for the implicit matrix.
"""

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.places import block, columns, rows_at
from ..cpu.share import THREAD_FLOPS, share, stripe, threads_for
from ..cpu.simd import entry
from ..cpu.sums import add_parts
from ..cpu.tile import add_tile, fitting, load_tile, pointer, prefetch_tile, rank1, store_tile, zero
from ..cpu.workspace import workspace
from .frame_cpu import frame_band
from .geometry import SPARE, bands_of, forward_axes, tables_of

TILES = (8, 2), (6, 4), (8, 3), (9, 2), (10, 1), (6, 2), (4, 3)
"""(rows, vectors): with more rows the addresses no longer fit in the registers."""

PARTS = 16
"""The most parts: as many as there are threads to use them on common machines."""

PARTS_BYTES = 4 * 1024 * 1024
"""The most memory for the sums of all parts: they must stay in the caches."""


@jit
def add_band(tile, tables, shape, pixels, source, gradient, first, sums, top, bottom):
    """sums[top:bottom] (+)= the products of one band: for each group, panel of columns, tile of rows, the sum over pixels.

    tables: sources (pixels,) and elements (rows,); shape: (groups, rows of a group, input and output channels of all);
    source, gradient: pointers, of the frame and of the band in the gradient; first: whether ``sums`` is to be overwritten
    """
    sources, elements = tables
    groups, input_channels, output_channels = shape
    depth, width = input_channels // groups, output_channels // groups
    table = pointer(tile, sources, 0)
    for g in range(groups):
        for j in range(0, width, tile.columns):
            b = columns(tile, gradient + (g * width + j), width - j)
            for i in range(top, bottom, tile.rows):
                place = block(tile, sums + (i * output_channels + g * width + j), output_channels, bottom - i, width - j)
                prefetch_tile(place)
                a = rows_at(tile, source + g * depth, pointer(tile, elements, i), bottom - i)
                total = zero(tile)
                for p in range(pixels):
                    total = rank1(total, a + entry(table, p), b + p * output_channels)
                if not first:
                    total = add_tile(total, load_tile(tile, place))
                store_tile(total, place)


@jit
def add_share(tile, tables, bands, extents, shape, operands, counts, frames, thread, threads):
    """The parts and stripes of rows that are this thread's; counts: (parts, stripes)."""
    grad_output, x, sums = operands
    images, source_rows, source_columns, target_rows, target_columns = extents
    count, band_rows, advance, top, left, height, width, framed = bands
    _, input_channels, output_channels = shape
    parts, stripes = counts
    rows = tables[1].size - SPARE
    frame = pointer(tile, frames, thread * frames.shape[1])
    first_item, end_item = share(thread, threads, parts * stripes)
    for item in range(first_item, end_item):
        part, upper = item // stripes, item % stripes
        sum_top, sum_bottom = stripe(upper, stripes, rows, tile.rows)
        first, end = share(part, parts, images * count)
        for task in range(first, end):
            n, band = task // count, task % count
            image = pointer(tile, x, n * source_rows * source_columns * input_channels)
            source = image + band * advance * source_columns * input_channels
            if framed:
                extent = source_rows, source_columns, input_channels
                frame_band(tile, image, extent, band * advance + top, left, height, width, frame)
                source = frame
            gradient = pointer(tile, grad_output, (n * target_rows + band * band_rows) * target_columns * output_channels)
            pixels = min(band_rows, target_rows - band * band_rows) * target_columns
            total = pointer(tile, sums, part * rows * output_channels)
            add_band(tile, tables, shape, pixels, source, gradient, task == first, total, sum_top, sum_bottom)


@threaded
def add_all(tile, tables, bands, extents, shape, operands, counts, frames, threads):
    for thread in prange(threads):
        add_share(tile, tables, bands, extents, shape, operands, counts, frames, np.intp(thread), threads)


class BackwardWeight:
    """A plan for the gradient with respect to the weight (R, S, C / groups, K).  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        vertical, horizontal = forward_axes(problem)
        self.tile = tile or fitting(TILES, problem.K // problem.groups, problem.dtype, problem.depth)
        self.bands = bands_of(vertical, horizontal)
        unbounded = problem.depth
        tables = tables_of(vertical, horizontal, self.bands, problem.C, problem.K, problem.groups, unbounded)
        self.tables = tables.sources, self._elements(vertical, horizontal)
        self.extents = problem.N, problem.H, problem.W, problem.P, problem.Q
        self.shape = problem.groups, problem.C, problem.K
        size = problem.depth * problem.K
        itemsize = np.dtype(problem.dtype).itemsize
        self.parts = max(1, min(problem.N * self.bands.number, PARTS_BYTES // (size * itemsize), PARTS))
        tiles = -(-problem.depth // self.tile.rows)
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), self.parts * tiles))
        self.counts = self.parts, min(tiles, -(-self.threads // self.parts))
        self.frames = workspace(self.threads, self.bands.height * self.bands.width * problem.C, problem.dtype)
        self.sums = np.zeros((self.parts if self.parts > 1 else 0, size), problem.dtype)
        self.workspace_bytes = self.frames.nbytes + self.sums.nbytes

    def _elements(self, vertical, horizontal):
        """The offset in the frame of each element (r, s, c) of a window."""
        bands, channels = self.bands, self.problem.C
        r = np.array([reach for _, reach in vertical.taps[0]])[:, None, None] - bands.top
        s = np.array([reach for _, reach in horizontal.taps[0]])[:, None] - bands.left
        elements = (r * bands.width + s) * channels + np.arange(channels // self.problem.groups)
        return np.concatenate([elements.ravel(), np.zeros(SPARE)]).astype(np.intp)

    def __call__(self, grad_output, x, out):
        """Write the gradient (R, S, C / groups, K) into ``out``, for grad_output (N, P, Q, K) and x (N, H, W, C)."""
        if not self.problem.N:
            out[...] = 0
            return out
        sums = self.sums if self.parts > 1 else out
        operands = grad_output.reshape(-1), x.reshape(-1), sums.reshape(-1)
        add_all(
            self.tile,
            self.tables,
            tuple(self.bands),
            self.extents,
            self.shape,
            operands,
            self.counts,
            self.frames,
            self.threads,
        )
        if self.parts > 1:
            add_parts(self.sums, out.reshape(-1))
        return out
