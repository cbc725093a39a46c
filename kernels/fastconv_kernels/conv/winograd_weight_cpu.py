"""Winograd's algorithm for the gradient of a 3x3 weight: F(3x3, 4x4), the gradient's 4x4 patches as the taps (NHWC).

    V[point, tile, c] = Bᵀ d B         every 6 x 6 patch of the input, 4 pixels apart          transform_patch
    D[point, tile, k] = G g Gᵀ         every 4 x 4 patch of the gradient
    M[point, c, k] = sum over tiles of V[point, tile, c] D[point, tile, k]                     rank1
    grad_weight[3 x 3, c, k] = Aᵀ M A                                                          transform_points

The patches are divided into *parts* whose results are kept apart and added in order at the end; how many there are depends
on the problem alone, so that any number of threads gives the same bits.  Where the weight is large there are fewer parts, and
threads divide its input channels.

Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, section 4.1.
"""

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.places import block, panel
from ..cpu.share import THREAD_FLOPS, share, stripe, threads_for
from ..cpu.sums import add_parts
from ..cpu.tile import add_tile, fitting, load_tile, pointer, prefetch_tile, rank1, store_tile, zero
from ..cpu.transform import Transform, transform_points
from ..cpu.workspace import apart, caches, even, workspace
from .patches_cpu import transform_images
from .toom_cook import SQRT2, toom_cook

MATRICES = toom_cook(3, 4, SQRT2)
INPUT, TAPS, OUTPUT = (Transform(matrix) for matrix in (MATRICES.input, MATRICES.taps, MATRICES.output))
STEP = MATRICES.taps.shape[1]
POINTS = MATRICES.input.size

TILES = (8, 2), (6, 4), (14, 2), (6, 2), (4, 3)
"""(rows, vectors) of the products."""

PARTS = 16
"""The most parts: as many as there are threads to use them on common machines."""

PARTS_BYTES = 4 * 1024 * 1024
"""The most memory for the results of all parts: they must stay in the caches."""


BLOCK = 16
"""The fewest patches in a block: one load and one store of a sum must be worth as many multiplications."""


@jit
def multiply_points(tile, v, d, m, pitches, channels, columns, tiles, first):
    """m[point] (+)= v[point] transposed @ d[point] for every point; ``first``: m is overwritten.

    pitches: (point, row) of v, d and m; channels: input channels; columns: output channels, padded to the tile
    """
    v_point, v_row, d_point, d_row, m_point, m_row = pitches
    for point in range(POINTS):
        for k in range(0, columns, tile.columns):
            b = panel(tile, d + (point * d_point + k))
            for c in range(0, channels, tile.rows):
                place = block(tile, m + (point * m_point + c * m_row + k), m_row, channels - c, tile.columns)
                prefetch_tile(place)
                a, total = v + (point * v_point + c), zero(tile)
                for t in range(tiles):
                    total = rank1(total, a + t * v_row, b + t * d_row)
                if not first:
                    total = add_tile(total, load_tile(tile, place))
                store_tile(total, place)


@jit
def add_share(tile, of_input, of_gradient, of_sums, operands, shapes, patches, pitches, buffers, thread, threads):
    """The parts and stripes of input channels that are this thread's.

    of_input, of_gradient, of_sums: the transforms; shapes: (rows, columns, channels) of the input and of the gradient;
    patches: down, across, top, left, total, most in a block, parts, stripes
    """
    grad_output, x, sums = operands
    source, target = shapes[:3], shapes[3:]
    total, limit, parts, stripes = patches[4:]
    v = pointer(tile, buffers[0], thread * buffers[0].shape[1])
    d = pointer(tile, buffers[1], thread * buffers[1].shape[1])
    m = pointer(tile, buffers[2], thread * buffers[2].shape[1])
    columns = (target[2] + tile.columns - 1) // tile.columns * tile.columns
    first_item, end_item = share(thread, threads, parts * stripes)
    for item in range(first_item, end_item):
        part = item // stripes
        top, bottom = stripe(item % stripes, stripes, source[2], tile.rows)
        begin, stop = share(part, parts, total)
        for first in range(begin, stop, limit):
            end = min(stop, first + limit)
            transform_images(tile, of_input, pointer(tile, x, 0), source, patches[:4], STEP, v, pitches[:2], first, end)
            places = patches[0], patches[1], 0, 0
            transform_images(
                tile, of_gradient, pointer(tile, grad_output, 0), target, places, STEP, d, pitches[2:4], first, end
            )
            multiply_points(tile, v + top, d, m, pitches, bottom - top, columns, end - first, first == begin)
        size = source[2] * target[2]
        result = pointer(tile, sums, part * 9 * size)
        for c in range(top, bottom):
            for k in range(0, target[2], tile.lanes):
                products, place = m + ((c - top) * pitches[5] + k), result + (c * target[2] + k)
                finish, extent = (None, None, False), (3, 3, target[2] - k)
                transform_points(of_sums, products, pitches[4], finish, place, (3 * size, size), extent)


@threaded
def add_all(tile, of_input, of_gradient, of_sums, operands, shapes, patches, pitches, buffers, threads):
    for thread in prange(threads):
        add_share(tile, of_input, of_gradient, of_sums, operands, shapes, patches, pitches, buffers, np.intp(thread), threads)


class BackwardWeight:
    """A plan for the gradient with respect to the weight (3, 3, C, K).  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        self.tile = tile or fitting(TILES, problem.K, problem.dtype, problem.C)
        lanes, nr, itemsize = self.tile.lanes, self.tile.columns, self.tile.itemsize
        self.shapes = problem.H, problem.W, problem.C, problem.P, problem.Q, problem.K
        down, across = -(-problem.P // STEP), -(-problem.Q // STEP)
        total, size = problem.N * down * across, 9 * problem.C * problem.K
        # A row more than the channels need: rows that are a power of two apart would share the lines of the cache.
        v_row, m_row = -(-problem.C // lanes) * lanes + lanes, -(-problem.K // nr) * nr + lanes
        parts = max(1, min(PARTS_BYTES // (size * itemsize), PARTS, total // BLOCK))
        tiles = -(-problem.C // self.tile.rows)
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), parts * tiles))
        limit = even(-(-total // parts), max(BLOCK, caches().level2 // 2 // (POINTS * (v_row + m_row) * itemsize)), 1)
        (top, _), (left, _) = problem.padding
        self.patches = down, across, -top, -left, total, limit, parts, min(tiles, -(-self.threads // parts))
        v_point, d_point, m_point = (apart(size, problem.dtype) for size in (limit * v_row, limit * m_row, problem.C * m_row))
        self.pitches = v_point, v_row, d_point, m_row, m_point, m_row
        spare = self.tile.rows  # the last tile reads beyond the last channel
        sizes = POINTS * v_point + spare, POINTS * d_point, POINTS * m_point
        self.buffers = tuple(workspace(self.threads, length, problem.dtype) for length in sizes)
        self.sums = np.zeros((parts if parts > 1 else 0, size), problem.dtype)
        self.workspace_bytes = sum(buffer.nbytes for buffer in self.buffers) + self.sums.nbytes

    def __call__(self, grad_output, x, out):
        """Write the gradient (3, 3, C, K) into ``out``, for grad_output (N, P, Q, K) and x (N, H, W, C)."""
        if not self.problem.N:
            out[...] = 0
            return out
        sums = self.sums if len(self.sums) else out
        operands = grad_output.reshape(-1), x.reshape(-1), sums.reshape(-1)
        rest = self.shapes, self.patches, self.pitches, self.buffers, self.threads
        add_all(self.tile, INPUT, TAPS, OUTPUT, operands, *rest)
        if len(self.sums):
            add_parts(self.sums, out.reshape(-1))
        return out
