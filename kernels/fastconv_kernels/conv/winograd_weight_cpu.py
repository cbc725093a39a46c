"""Winograd's algorithm for the gradient of the weight: F(r x r, m x m), the gradient's m x m patches as the taps (NHWC).

    V[point, patch, c] = Bᵀ d B        every n x n patch of the input, m pixels apart, n = m + r - 1      transform_images
    D[point, patch, k] = G g Gᵀ        every m x m patch of the gradient
    M[point, c, k] = sum over patches of V[point, patch, c] D[point, patch, k]                            multiply_points
    grad_weight[r x r, c, k] = Aᵀ M A                                                                     write_gradient

M must stay in the second cache while patches pass through.  Where all of it does (``add_all_parts``), the patches are
divided into *parts*, each with an M of its own, whose results are added in order at the end.  Where it is larger
(``add_group``), V and D of a group of patches are kept in the third cache, and each *block* of M, some input by some output
channels, is computed from them and written.  How many parts, groups and blocks there are depends on the problem alone, so
that any number of threads gives the same bits.  Vectors of the gradient that are not finite are marked, and ``spoilt_cpu``
sums them as the definition says.

Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, section 4.1.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.places import block, panel
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import advance
from ..cpu.sums import add_parts
from ..cpu.tile import add_tile, fitting, load_tile, pointer, prefetch_tile, rank1, store_tile, zero
from ..cpu.transform import Scheme, transform_points
from ..cpu.workspace import apart, caches, even, workspace
from .patches_cpu import Patches, Points, transform_images
from .spoilt_cpu import add_marked
from .toom_cook import dilated

TILES = (8, 2), (6, 4), (14, 2), (6, 2), (4, 3)
"""(rows, vectors) of the products."""

PARTS = 16
"""The most parts: as many as there are threads to use them on common machines."""

PART = 64
"""The fewest patches in a part: transforming its M once must be worth as many multiplications."""

PARTS_BYTES = 4 * 1024 * 1024
"""The most memory for the results of more than two parts: they must stay in the caches."""

BLOCK = 16
"""The fewest patches between a load and a store of a sum."""

STEPS = 64
"""The most: their columns of D, read again for each tile of rows, must stay in the nearest caches."""

BLOCK_COLUMNS = 128
"""Output channels in a block of a large M, at most: the more, the fewer times D is read; the fewer, the fewer times V is."""


class Sizes(NamedTuple):
    """How the work is cut and where the arrays of points are, in elements.

    patches, steps : of all images; those that pass through M at a time
    parts : of the patches, each with its own M
    rows, columns : of a block of M
    v_point, v_row, d_point, d_row, m_point, m_row : from one point and from one row to the next in V, D and M
    """

    patches: int
    steps: int
    parts: int
    rows: int
    columns: int
    v_point: int
    v_row: int
    d_point: int
    d_row: int
    m_point: int
    m_row: int


@jit
def multiply_points(tile, scheme, v, d, m, shape, steps, first):
    """m[point] (+)= v[point] transposed @ d[point] for every point and ``steps`` patches; ``first``: m is overwritten.

    shape: input and output channels
    """
    channels, columns = shape
    for point in range(scheme.points):
        for k in range(0, columns, tile.columns):
            b = panel(tile, d.base + (point * d.point + k))
            for c in range(0, channels, tile.rows):
                place = block(tile, m.base + (point * m.point + c * m.row + k), m.row, channels - c, tile.columns)
                prefetch_tile(place)
                a, total = v.base + (point * v.point + c), zero(tile)
                for t in range(steps):
                    total = rank1(total, a + t * v.row, b + t * d.row)
                if not first:
                    total = add_tile(total, load_tile(tile, place))
                store_tile(total, place)


@jit
def write_gradient(tile, scheme, m, addend, result, begin, shape, corner, extent, marks):
    """Transform a block of M to ``result``, from element ``begin`` on; addend: ``result``, or None if nothing is added.

    shape: of the weight, (C, K); corner, extent: (input, output channels) before the block and in it; marks: of the weight

    Returns how many vectors of the gradient were marked because they may not be finite.
    """
    inputs, outputs = shape
    window, size, vectors = scheme.output.outputs, inputs * outputs, (outputs + tile.lanes - 1) // tile.lanes
    marked, addend, result = 0, pointer(tile, addend, begin), pointer(tile, result, begin)
    for c in range(extent[0]):
        for k in range(0, extent[1], tile.lanes):
            row, column = corner[0] + c, corner[1] + k
            place = row * outputs + column
            epilogue, targets = (None, advance(addend, place), False), (result + place, None, False)
            strides, exists = (window * size, size), (window, window, outputs - column)
            if transform_points(scheme.output, m.base + (c * m.row + k), m.point, epilogue, targets, strides, exists):
                marks[row * vectors + column // tile.lanes] = 1
                marked += 1
    return marked


@jit
def add_part(tile, scheme, operands, source, gradient, sizes, buffers, part, thread):
    """The gradient of one part of the patches, all of M at once."""
    grad_output, x, sums, marks = operands
    v = Points(pointer(tile, buffers[0], thread * buffers[0].shape[1]), sizes.v_point, sizes.v_row)
    d = Points(pointer(tile, buffers[1], thread * buffers[1].shape[1]), sizes.d_point, sizes.d_row)
    m = Points(pointer(tile, buffers[2], thread * buffers[2].shape[1]), sizes.m_point, sizes.m_row)
    shape, window = (source.channels, gradient.channels), scheme.output.outputs
    begin, stop = share(part, sizes.parts, sizes.patches)
    for first in range(begin, stop, sizes.steps):
        end = min(stop, first + sizes.steps)
        transform_images(tile, scheme.input, pointer(tile, x, 0), source, v, first, end)
        transform_images(tile, scheme.taps, pointer(tile, grad_output, 0), gradient, d, first, end)
        multiply_points(tile, scheme, v, d, m, (sizes.rows, sizes.columns), end - first, first == begin)
    result, own = part * window * window * shape[0] * shape[1], marks[part * (marks.size // sizes.parts) :]
    return write_gradient(tile, scheme, m, None, sums, result, shape, (0, 0), shape, own)


@threaded
def add_all_parts(tile, scheme, operands, source, gradient, sizes, buffers, threads):
    """All parts; operands: gradient, input, the sums of the parts, marks; buffers: V, D and M, a row for each thread.

    Returns how many vectors of the gradient were marked.
    """
    marked = 0
    for thread in prange(threads):
        first_part, end_part = share(thread, threads, sizes.parts)
        for part in range(first_part, end_part):
            marked += add_part(tile, scheme, operands, source, gradient, sizes, buffers, part, np.intp(thread))
    return marked


@threaded
def transform_group(tile, scheme, operands, source, gradient, sizes, buffers, group, threads):
    """V and D of the patches ``group`` (first, end), for all threads."""
    for thread in prange(threads):
        first, end = share(thread, threads, group[1] - group[0])
        v = Points(pointer(tile, buffers[0], first * sizes.v_row), sizes.v_point, sizes.v_row)
        d = Points(pointer(tile, buffers[1], first * sizes.d_row), sizes.d_point, sizes.d_row)
        first, end = group[0] + first, group[0] + end
        transform_images(tile, scheme.input, pointer(tile, operands[1], 0), source, v, first, end)
        transform_images(tile, scheme.taps, pointer(tile, operands[0], 0), gradient, d, first, end)


@jit
def add_block(tile, scheme, operands, shape, sizes, buffers, group, task, thread):
    """One block of M from V and D of a group, added to the gradient."""
    blocks = (shape[1] + sizes.columns - 1) // sizes.columns
    top, left = task // blocks * sizes.rows, task % blocks * sizes.columns
    height, width = min(sizes.rows, shape[0] - top), min(sizes.columns, shape[1] - left)
    m = Points(pointer(tile, buffers[2], thread * buffers[2].shape[1]), sizes.m_point, sizes.m_row)
    patches = group[1] - group[0]
    for first in range(0, patches, sizes.steps):
        v = Points(pointer(tile, buffers[0], first * sizes.v_row + top), sizes.v_point, sizes.v_row)
        d = Points(pointer(tile, buffers[1], first * sizes.d_row + left), sizes.d_point, sizes.d_row)
        multiply_points(tile, scheme, v, d, m, (height, width), min(sizes.steps, patches - first), first == 0)
    where, (_, _, result, marks) = ((top, left), (height, width)), operands
    if group[0] == 0:
        return write_gradient(tile, scheme, m, None, result, 0, shape, *where, marks)
    return write_gradient(tile, scheme, m, result, result, 0, shape, *where, marks)


@threaded
def add_group(tile, scheme, operands, shape, sizes, buffers, group, threads):
    """All blocks of M from V and D of a group, added to the gradient; returns how many of its vectors were marked."""
    marked = 0
    for thread in prange(threads):
        blocks = (shape[0] + sizes.rows - 1) // sizes.rows * ((shape[1] + sizes.columns - 1) // sizes.columns)
        first, end = share(thread, threads, blocks)
        for task in range(first, end):
            marked += add_block(tile, scheme, operands, shape, sizes, buffers, group, task, np.intp(thread))
    return marked


class BackwardWeight:
    """A plan for the gradient with respect to the weight (R, R, C, K).  One call at a time."""

    def __init__(self, problem, threads=1, tile=None, *, outputs=4):
        self.problem = problem
        self.scheme = Scheme(*dilated(problem.R, outputs, problem.stride[0]))
        self.tile = tile or fitting(TILES, problem.K, problem.dtype, problem.C)
        self.threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        (top, _), (left, _) = problem.padding
        down, across = -(-problem.P // outputs), -(-problem.Q // outputs)
        self.source = Patches(problem.H, problem.W, problem.C, down, across, -top, -left, outputs * problem.stride[0])
        self.gradient = Patches(problem.P, problem.Q, problem.K, down, across, 0, 0, outputs)
        self.sizes, self.group = self._cut(problem, problem.N * down * across)
        sizes, points, lanes = self.sizes, self.scheme.points, self.tile.lanes
        shared = 1 if self.group else self.threads  # V and D of a group are for all threads
        # The last tile reads beyond the last channel; a plain sum needs a patch of each kind and its results.
        spare = max(self.tile.rows, (outputs**2 + problem.R**2) * lanes)
        self.buffers = (
            workspace(shared, points * sizes.v_point + spare, problem.dtype),
            workspace(shared, points * sizes.d_point, problem.dtype),
            workspace(self.threads, points * sizes.m_point, problem.dtype),
        )
        weights = problem.R * problem.S * problem.C * problem.K
        self.sums = np.zeros((sizes.parts if sizes.parts > 1 else 0, weights), problem.dtype)
        self.marks = np.zeros(sizes.parts * problem.C * -(-problem.K // lanes), np.uint8)
        self.workspace_bytes = sum(buffer.nbytes for buffer in (*self.buffers, self.sums, self.marks))

    def _cut(self, problem, patches):
        """(Sizes, patches in a group); no groups where all of M stays in the second cache."""
        lanes, nr, itemsize = self.tile.lanes, self.tile.columns, self.tile.itemsize
        point_bytes, memory = self.scheme.points * itemsize, caches()
        # A row more than the channels need: rows that are a power of two apart would share the lines of the cache.
        v_row, d_row = -(-problem.C // lanes) * lanes + lanes, -(-problem.K // nr) * nr + lanes
        parts, rows, columns, group = 1, problem.C, problem.K, 0
        if point_bytes * problem.C * d_row <= memory.level2:
            weight_bytes = problem.R * problem.S * problem.C * problem.K * itemsize
            parts = max(1, min(PARTS, patches // PART, max(2, PARTS_BYTES // weight_bytes)))
            self.threads = min(self.threads, parts)
            limit = max(BLOCK, memory.level2 // 2 // (point_bytes * (v_row + d_row)))
            kept = steps = even(-(-patches // parts), min(limit, STEPS), 1)
        else:
            columns = even(problem.K, BLOCK_COLUMNS, nr)
            rows = even(problem.C, memory.level2 // 2 // (point_bytes * columns), self.tile.rows)
            group = kept = even(patches, max(STEPS, memory.level3 // 2 // (point_bytes * (v_row + d_row))), 1)
            steps = even(group, STEPS, 1)
        m_row = -(-columns // nr) * nr + lanes
        lengths = kept * v_row, kept * d_row, rows * m_row
        v_point, d_point, m_point = (apart(length, problem.dtype) for length in lengths)
        return Sizes(patches, steps, parts, rows, columns, v_point, v_row, d_point, d_row, m_point, m_row), group

    def __call__(self, grad_output, x, out):
        """Write the gradient (R, R, C, K) into ``out``, for grad_output (N, P, Q, K) and x (N, H, W, C)."""
        if not self.problem.N:
            out[...] = 0
            return out
        sums = self.sums if len(self.sums) else out
        operands = grad_output.reshape(-1), x.reshape(-1), sums.reshape(-1), self.marks
        cut = self.tile, self.scheme, operands, self.source, self.gradient
        if self._by_groups(cut) if self.group else add_all_parts(*cut, self.sizes, self.buffers, self.threads):
            add_marked(*cut, self.sizes.parts, self.buffers[0], len(self.buffers[0]))
        if len(self.sums):
            add_parts(self.sums, out.reshape(-1))
        return out

    def _by_groups(self, cut):
        marked, shape = 0, (self.problem.C, self.problem.K)
        for first in range(0, self.sizes.patches, self.group):
            group = first, min(self.sizes.patches, first + self.group)
            transform_group(*cut, self.sizes, self.buffers, group, self.threads)
            marked += add_group(*cut[:3], shape, self.sizes, self.buffers, group, self.threads)
        return marked
