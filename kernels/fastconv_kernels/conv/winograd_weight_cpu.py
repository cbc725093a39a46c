"""Winograd's algorithm for the gradient of the weight: F(r x r, m x m), the gradient's m x m patches as the taps (NHWC).

    V[point, patch, c] = Bᵀ d B        every n x n patch of the input, m pixels apart, n = m + r - 1      transform_images
    D[point, patch, k] = G g Gᵀ        every m x m patch of the gradient
    M[point, c, k] = sum over patches of V[point, patch, c] D[point, patch, k]                            multiply_points
    grad_weight[r x r, c, k] = Aᵀ M A                                                                     write_gradient

The patches are divided into *parts* whose results are kept apart and added in order at the end; how many there are depends
on the problem alone, so that any number of threads gives the same bits.  Where the weight is large there are fewer parts, and
threads divide its input channels.  Vectors of the gradient that are not finite are marked, and ``spoilt_cpu`` sums them as the
definition says.

Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, section 4.1.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.places import block, panel
from ..cpu.share import THREAD_FLOPS, share, stripe, threads_for
from ..cpu.sums import add_parts
from ..cpu.tile import add_tile, fitting, load_tile, pointer, prefetch_tile, rank1, store_tile, zero
from ..cpu.transform import Scheme, transform_points
from ..cpu.workspace import apart, caches, even, workspace
from .patches_cpu import Patches, Points, transform_images
from .spoilt_cpu import add_marked
from .toom_cook import POINTS, toom_cook

TILES = (8, 2), (6, 4), (14, 2), (6, 2), (4, 3)
"""(rows, vectors) of the products."""

PARTS = 16
"""The most parts: as many as there are threads to use them on common machines."""

PARTS_BYTES = 4 * 1024 * 1024
"""The most memory for the results of all parts: they must stay in the caches."""

BLOCK = 16
"""The fewest patches in a block: one load and one store of a sum must be worth as many multiplications."""


class Sizes(NamedTuple):
    """How the work is cut and where the arrays of points are, in elements.

    patches, limit : of all images; the most in a block
    parts, stripes : of the patches; of the input channels
    v_point, v_row, d_point, m_point, m_row : from one point and from one row to the next in V, D and M; D's rows are M's
    """

    patches: int
    limit: int
    parts: int
    stripes: int
    v_point: int
    v_row: int
    d_point: int
    m_point: int
    m_row: int


@jit
def multiply_points(tile, scheme, v, d, m, shape, rows, first):
    """m[point] (+)= v[point] transposed @ d[point] for every point; ``first``: m is overwritten.

    shape: input channels, output channels padded to the tile; rows: patches
    """
    channels, columns = shape
    for point in range(scheme.points):
        for k in range(0, columns, tile.columns):
            b = panel(tile, d.base + (point * d.point + k))
            for c in range(0, channels, tile.rows):
                place = block(tile, m.base + (point * m.point + c * m.row + k), m.row, channels - c, tile.columns)
                prefetch_tile(place)
                a, total = v.base + (point * v.point + c), zero(tile)
                for t in range(rows):
                    total = rank1(total, a + t * v.row, b + t * d.row)
                if not first:
                    total = add_tile(total, load_tile(tile, place))
                store_tile(total, place)


@jit
def write_gradient(tile, scheme, m, result, shape, channels, marks, part):
    """Transform the sums of the input channels ``channels`` (first, end) over a part to ``result``; shape: (C, K).

    Returns how many vectors of the gradient were marked because they may not be finite.
    """
    inputs, outputs = shape
    top, bottom = channels
    window, size, vectors = scheme.output.outputs, inputs * outputs, (outputs + tile.lanes - 1) // tile.lanes
    marked = 0
    for c in range(top, bottom):
        for k in range(0, outputs, tile.lanes):
            products, place = m.base + ((c - top) * m.row + k), result + (c * outputs + k)
            epilogue, targets = (None, None, False), (place, None, False)
            strides, extent = (window * size, size), (window, window, outputs - k)
            if transform_points(scheme.output, products, m.point, epilogue, targets, strides, extent):
                marks[(part * inputs + c) * vectors + k // tile.lanes] = 1
                marked += 1
    return marked


@jit
def add_share(tile, scheme, operands, source, gradient, sizes, buffers, thread, threads):
    """The parts and stripes of input channels that are this thread's."""
    grad_output, x, sums, marks = operands
    v = Points(pointer(tile, buffers[0], thread * buffers[0].shape[1]), sizes.v_point, sizes.v_row)
    d = Points(pointer(tile, buffers[1], thread * buffers[1].shape[1]), sizes.d_point, sizes.m_row)
    m = Points(pointer(tile, buffers[2], thread * buffers[2].shape[1]), sizes.m_point, sizes.m_row)
    shape, window = (source.channels, gradient.channels), scheme.output.outputs
    columns = (gradient.channels + tile.columns - 1) // tile.columns * tile.columns
    first_item, end_item = share(thread, threads, sizes.parts * sizes.stripes)
    marked = 0
    for item in range(first_item, end_item):
        part = item // sizes.stripes
        channels = stripe(item % sizes.stripes, sizes.stripes, source.channels, tile.rows)
        begin, stop = share(part, sizes.parts, sizes.patches)
        for first in range(begin, stop, sizes.limit):
            end = min(stop, first + sizes.limit)
            transform_images(tile, scheme.input, pointer(tile, x, 0), source, v, first, end)
            transform_images(tile, scheme.taps, pointer(tile, grad_output, 0), gradient, d, first, end)
            own = Points(v.base + channels[0], sizes.v_point, sizes.v_row)
            multiply_points(tile, scheme, own, d, m, (channels[1] - channels[0], columns), end - first, first == begin)
        result = pointer(tile, sums, part * window * window * shape[0] * shape[1])
        marked += write_gradient(tile, scheme, m, result, shape, channels, marks, part)
    return marked


@threaded
def add_all(tile, scheme, operands, source, gradient, sizes, buffers, threads):
    """All parts; operands: gradient, input, the sums of the parts, marks; buffers: V, D and M, a row for each thread.

    Returns how many vectors of the gradient were marked.
    """
    marked = 0
    for thread in prange(threads):
        marked += add_share(tile, scheme, operands, source, gradient, sizes, buffers, np.intp(thread), threads)
    return marked


class BackwardWeight:
    """A plan for the gradient with respect to the weight (R, R, C, K).  One call at a time."""

    def __init__(self, problem, threads=1, tile=None, *, outputs=4):
        self.problem = problem
        self.scheme = Scheme(*toom_cook(problem.R, outputs, POINTS[outputs, problem.R]))
        self.tile = tile or fitting(TILES, problem.K, problem.dtype, problem.C)
        points, lanes, nr, itemsize = self.scheme.points, self.tile.lanes, self.tile.columns, self.tile.itemsize
        (top, _), (left, _) = problem.padding
        down, across = -(-problem.P // outputs), -(-problem.Q // outputs)
        self.source = Patches(problem.H, problem.W, problem.C, down, across, -top, -left, outputs)
        self.gradient = Patches(problem.P, problem.Q, problem.K, down, across, 0, 0, outputs)
        total, size = problem.N * down * across, problem.R * problem.S * problem.C * problem.K
        # A row more than the channels need: rows that are a power of two apart would share the lines of the cache.
        v_row, m_row = -(-problem.C // lanes) * lanes + lanes, -(-problem.K // nr) * nr + lanes
        parts = max(1, min(PARTS_BYTES // (size * itemsize), PARTS, total // BLOCK))
        tiles = -(-problem.C // self.tile.rows)
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), parts * tiles))
        limit = even(-(-total // parts), max(BLOCK, caches().level2 // 2 // (points * (v_row + m_row) * itemsize)), 1)
        v_point, d_point, m_point = (apart(size, problem.dtype) for size in (limit * v_row, limit * m_row, problem.C * m_row))
        stripes = min(tiles, -(-self.threads // parts))
        self.sizes = Sizes(total, limit, parts, stripes, v_point, v_row, d_point, m_point, m_row)
        # The last tile reads beyond the last channel; a plain sum needs a patch of each kind and its results.
        spare = max(self.tile.rows, (outputs**2 + problem.R**2) * lanes)
        sizes = points * v_point + spare, points * d_point, points * m_point
        self.buffers = tuple(workspace(self.threads, length, problem.dtype) for length in sizes)
        self.sums = np.zeros((parts if parts > 1 else 0, size), problem.dtype)
        self.marks = np.zeros(parts * problem.C * -(-problem.K // lanes), np.uint8)
        self.workspace_bytes = sum(buffer.nbytes for buffer in self.buffers) + self.sums.nbytes + self.marks.nbytes

    def __call__(self, grad_output, x, out):
        """Write the gradient (R, R, C, K) into ``out``, for grad_output (N, P, Q, K) and x (N, H, W, C)."""
        if not self.problem.N:
            out[...] = 0
            return out
        sums = self.sums if len(self.sums) else out
        operands = grad_output.reshape(-1), x.reshape(-1), sums.reshape(-1), self.marks
        rest = operands, self.source, self.gradient
        if add_all(self.tile, self.scheme, *rest, self.sizes, self.buffers, self.threads):
            add_marked(self.tile, self.scheme, *rest, self.sizes.parts, self.buffers[0], self.threads)
        if len(self.sums):
            add_parts(self.sums, out.reshape(-1))
        return out
