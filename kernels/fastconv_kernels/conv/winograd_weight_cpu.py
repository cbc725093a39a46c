"""Winograd's algorithm for the gradient of the weight: F(r x r, m x m), the gradient's m x m patches as the taps (NHWC).

    V[point, patch, c] = Bᵀ d B        every n x n patch of the input, m pixels apart, n = m + r - 1      transform_images
    D[point, patch, k] = G g Gᵀ        every m x m patch of the gradient
    M[point, c, k] = sum over patches of V[point, patch, c] D[point, patch, k]                            multiply_points
    grad_weight[r x r, c, k] = Aᵀ M A                                                                     write_gradient

The patches are divided into *parts*, whose gradients are added in order at the end, and pass in *groups*, small enough that
their V and D stay in the nearer caches.  Where all of M fits in the second cache, it stays there meanwhile; where not, each
group's is formed *block* by block, some input by some output channels, and added to the gradient (``add_blocks``).  How
many parts and groups there are depends on the problem alone, so that any number of threads gives the same bits.

Threads share parts; where there are fewer, each takes a *range* of the channels and transforms what that needs by itself, some
of it again, because to read what another core has written takes three times as long as to read one's own.  Vectors of the
gradient that are not finite are marked, and ``spoilt_cpu`` sums them as the definition says.

Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, section 4.1.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.places import block, panel
from ..cpu.share import THREAD_FLOPS, share, stripe, threads_for
from ..cpu.simd import advance
from ..cpu.sums import add_parts
from ..cpu.tile import add_tile, fitting, load_tile, pointer, prefetch_tile, rank1, store_tile, zero
from ..cpu.transform import Scheme, transform_points
from ..cpu.workspace import apart, caches, even, workspace
from .patches_cpu import Patches, Points, ask_for_images, transform_images
from .spoilt_cpu import add_marked
from .toom_cook import dilated
from .walk import exceed_caches

TILES = (8, 2), (6, 4), (14, 2), (6, 2), (4, 3)
"""(rows, vectors) of the products."""

PARTS = 16
"""The most parts: as many as there are threads to use them on common machines."""

PART = 64
"""The fewest patches in a part: transforming its M once must be worth as many multiplications."""

PARTS_BYTES = 4 * 1024 * 1024
"""The most memory for the results of more than two parts: they must stay in the caches."""

HALVED = 512
"""From so many patches on there are two parts where M does not stay in the cache.

Two threads then take 0.8 to 0.9 of the time, one takes 1 to 4% more, as the gradients are further away; with 256 patches two
threads gain nothing and one takes 8 to 17% more.
"""

BLOCK = 16
"""The fewest patches in a group: a sum is loaded and stored once for each."""

GROUP = 64
"""The most: V and D are read again for each tile and each block of M.

With 128, layers of 28x28 and 56x56 took up to 1.2 times as long on one thread; with half of the third cache up to 1.3 times.
"""

BLOCK_COLUMNS = 128
"""Output channels in a block of a large M, at most: the more, the fewer times D is read; the fewer, the fewer times V is."""

TRANSFORMS = 20
"""Products for which the transforms of a patch take as long, for each input and each output channel."""


class Sizes(NamedTuple):
    """How the work is cut and where the arrays of points are, in elements.

    patches, group : of all images; those that pass at a time
    parts, inputs, outputs : of the patches, each with its own M; ranges of the input and output channels
    stays : whether all of M is kept while the patches pass
    rows, columns : of a block of M
    v_point, v_row, d_point, d_row, m_point, m_row : from one point and from one row to the next in V, D and M
    """

    patches: int
    group: int
    parts: int
    inputs: int
    outputs: int
    stays: bool
    rows: int
    columns: int
    v_point: int
    v_row: int
    d_point: int
    d_row: int
    m_point: int
    m_row: int


@jit
def multiply_points(tile, scheme, v, d, m, shape, patches, first, following, turn):
    """m[point] (+)= v[point] transposed @ d[point] for every point and ``patches`` of them; ``first``: m is overwritten.

    shape: input and output channels; following: images and how they are cut, gradients and how they are cut, which patches
    (first, end) of both are brought nearer meanwhile; turn: call number, of how many for the same patches
    """
    channels, columns = shape
    images, source, gradients, gradient, those = following
    for point in range(scheme.points):
        part, parts = turn[0] * scheme.points + point, turn[1] * scheme.points
        ask_for_images(tile, scheme.input, images, source, those, part, parts)
        ask_for_images(tile, scheme.taps, gradients, gradient, those, part, parts)
        for k in range(0, columns, tile.columns):
            b = panel(tile, d.base + (point * d.point + k))
            for c in range(0, channels, tile.rows):
                place = block(tile, m.base + (point * m.point + c * m.row + k), m.row, channels - c, tile.columns)
                prefetch_tile(place)
                a, total = v.base + (point * v.point + c), zero(tile)
                for t in range(patches):
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
def add_blocks(tile, scheme, points, patches, addend, result, begin, shape, corner, extent, sizes, marks, following):
    """The blocks of M from V and D of a group, added to the gradient; returns how many of its vectors were marked.

    points: (V, D, M) of the thread; patches: how many; following: see ``multiply_points``; the others: see ``write_gradient``
    """
    (v, d, m), marked, call = points, 0, 0
    calls = ((extent[0] + sizes.rows - 1) // sizes.rows) * ((extent[1] + sizes.columns - 1) // sizes.columns)
    for top in range(0, extent[0], sizes.rows):
        for left in range(0, extent[1], sizes.columns):
            size = min(sizes.rows, extent[0] - top), min(sizes.columns, extent[1] - left)
            rows, columns = Points(v.base + top, v.point, v.row), Points(d.base + left, d.point, d.row)
            multiply_points(tile, scheme, rows, columns, m, size, patches, True, following, (call, calls))
            call += 1
            place = corner[0] + top, corner[1] + left
            marked += write_gradient(tile, scheme, m, addend, result, begin, shape, place, size, marks)
    return marked


@jit
def add_task(tile, scheme, operands, source, gradient, sizes, buffers, streamed, task, thread):
    """The gradient of a range of input by a range of output channels, from one part of the patches.

    Returns how many vectors of it were marked.
    """
    grad_output, x, sums, marks = operands
    v = Points(pointer(tile, buffers[0], thread * buffers[0].shape[1]), sizes.v_point, sizes.v_row)
    d = Points(pointer(tile, buffers[1], thread * buffers[1].shape[1]), sizes.d_point, sizes.d_row)
    m = Points(pointer(tile, buffers[2], thread * buffers[2].shape[1]), sizes.m_point, sizes.m_row)
    shape, window, ranges = (source.channels, gradient.channels), scheme.output.outputs, sizes.inputs * sizes.outputs
    part, place, marked = task // ranges, task % ranges, 0
    c, c_end = stripe(place // sizes.outputs, sizes.inputs, shape[0], tile.rows)
    k, k_end = stripe(place % sizes.outputs, sizes.outputs, shape[1], tile.columns)
    begin, stop = share(part, sizes.parts, sizes.patches)
    extent, result = (c_end - c, k_end - k), part * window * window * shape[0] * shape[1]
    where, own = (result, shape, (c, k), extent), marks[part * (marks.size // sizes.parts) :]
    for first in range(begin, stop, sizes.group):
        end = min(stop, first + sizes.group)
        transform_images(tile, scheme.input, pointer(tile, x, c), extent[0], source, v, first, end)
        transform_images(tile, scheme.taps, pointer(tile, grad_output, k), extent[1], gradient, d, first, end)
        next_end = min(stop, end + sizes.group) if streamed else end
        following = pointer(tile, x, c), source, pointer(tile, grad_output, k), gradient, (end, next_end)
        if sizes.stays:
            multiply_points(tile, scheme, v, d, m, extent, end - first, first == begin, following, (0, 1))
        elif first == begin:
            marked += add_blocks(tile, scheme, (v, d, m), end - first, None, sums, *where, sizes, own, following)
        else:
            marked += add_blocks(tile, scheme, (v, d, m), end - first, sums, sums, *where, sizes, own, following)
    if sizes.stays:
        marked += write_gradient(tile, scheme, m, None, sums, *where, own)
    return marked


@threaded
def add_tasks(tile, scheme, operands, source, gradient, sizes, buffers, streamed, threads):
    """All parts and ranges; returns how many vectors of the gradient were marked.

    operands: gradient, input, the sums of the parts, marks; buffers: V, D and M, a row for each thread; streamed: whether
    images and gradients are fetched ahead of time
    """
    marked = 0
    for thread in prange(threads):
        first, end = share(thread, threads, sizes.parts * sizes.inputs * sizes.outputs)
        for task in range(first, end):
            marked += add_task(tile, scheme, operands, source, gradient, sizes, buffers, streamed, task, np.intp(thread))
    return marked


def longest(length, ranges, unit):
    """The longest of the ``ranges`` into which ``stripe`` cuts ``length``."""
    units = -(-length // unit)
    return -(-units // ranges) * unit


def ranges_for(tile, channels, parts, threads):
    """Into how many ranges the input and the output channels are cut, so that the threads are done first."""
    inputs, outputs = channels

    def time(ranges):
        depth, width = longest(inputs, ranges[0], tile.rows), longest(outputs, ranges[1], tile.columns)
        return -(-parts * ranges[0] * ranges[1] // threads) * (depth * width + TRANSFORMS * (depth + width))

    most = min(threads, -(-inputs // tile.rows)), min(threads, -(-outputs // tile.columns))
    return min(((i, o) for i in range(1, most[0] + 1) for o in range(1, min(most[1], threads // i) + 1)), key=time)


class BackwardWeight:
    """A plan for the gradient with respect to the weight (R, R, C, K).  One call at a time."""

    def __init__(self, problem, threads=1, tile=None, *, outputs=4):
        self.problem = problem
        self.scheme = Scheme(*dilated(problem.R, outputs, problem.stride[0]))
        self.tile = tile or fitting(TILES, problem.K, problem.dtype, problem.C)
        (top, _), (left, _) = problem.padding
        down, across = -(-problem.P // outputs), -(-problem.Q // outputs)
        self.source = Patches(problem.H, problem.W, problem.C, down, across, -top, -left, outputs * problem.stride[0])
        self.gradient = Patches(problem.P, problem.Q, problem.K, down, across, 0, 0, outputs)
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        self.sizes = sizes = self._cut(problem, problem.N * down * across, threads)
        self.threads = min(threads, sizes.parts * sizes.inputs * sizes.outputs)
        points, lanes = self.scheme.points, self.tile.lanes
        # The last tile reads beyond the last channel; a plain sum needs a patch of each kind and its results.
        spare = max(self.tile.rows, (outputs**2 + problem.R**2) * lanes)
        lengths = points * sizes.v_point + spare, points * sizes.d_point, points * sizes.m_point
        self.buffers = tuple(workspace(self.threads, length, problem.dtype) for length in lengths)
        self.streamed = exceed_caches(problem)
        weights = problem.R * problem.S * problem.C * problem.K
        self.sums = np.zeros((sizes.parts if sizes.parts > 1 else 0, weights), problem.dtype)
        self.marks = np.zeros(sizes.parts * problem.C * -(-problem.K // lanes), np.uint8)
        self.workspace_bytes = sum(buffer.nbytes for buffer in (*self.buffers, self.sums, self.marks))

    def _cut(self, problem, patches, threads):
        """How the work is cut: parts and groups by the problem alone, ranges and blocks by the threads too."""
        tile, memory, point_bytes = self.tile, caches(), self.scheme.points * self.tile.itemsize
        weight_bytes = problem.R * problem.S * problem.C * problem.K * tile.itemsize
        v_row, d_row = self._rows(problem.C, problem.K)
        stays, limit = point_bytes * problem.C * d_row <= memory.level2, GROUP
        if stays:
            parts = max(1, min(PARTS, patches // PART, max(2, PARTS_BYTES // weight_bytes)))
            limit = min(GROUP, max(BLOCK, memory.level2 // 2 // (point_bytes * (v_row + d_row))))
        else:
            parts = 2 if patches >= HALVED and weight_bytes <= PARTS_BYTES else 1
        group = even(-(-patches // parts), limit, 1)
        ranges = ranges_for(tile, (problem.C, problem.K), parts, threads)
        rows, columns = longest(problem.C, ranges[0], tile.rows), longest(problem.K, ranges[1], tile.columns)
        v_row, d_row = self._rows(rows, columns)
        if not stays:
            columns = even(columns, BLOCK_COLUMNS, tile.columns)
            rows = even(rows, memory.level2 // 2 // (point_bytes * columns), tile.rows)
        m_row = -(-columns // tile.columns) * tile.columns + tile.lanes
        lengths = group * v_row, group * d_row, rows * m_row
        v_point, d_point, m_point = (apart(length, problem.dtype) for length in lengths)
        counts = patches, group, parts, *ranges, stays
        return Sizes(*counts, rows, columns, v_point, v_row, d_point, d_row, m_point, m_row)

    def _rows(self, inputs, outputs):
        """Elements of a row of V and of D.

        They are a vector more than the channels need: rows that are a power of two apart would share the lines of the cache.
        """
        lanes, nr = self.tile.lanes, self.tile.columns
        return -(-inputs // lanes) * lanes + lanes, -(-outputs // nr) * nr + lanes

    def __call__(self, grad_output, x, out):
        """Write the gradient (R, R, C, K) into ``out``, for grad_output (N, P, Q, K) and x (N, H, W, C)."""
        if not self.problem.N:
            out[...] = 0
            return out
        sums = self.sums if len(self.sums) else out
        operands = grad_output.reshape(-1), x.reshape(-1), sums.reshape(-1), self.marks
        cut = self.tile, self.scheme, operands, self.source, self.gradient
        if add_tasks(*cut, self.sizes, self.buffers, self.streamed, self.threads):
            add_marked(*cut, self.sizes.parts, self.buffers[0], len(self.buffers[0]))
        if len(self.sums):
            add_parts(self.sums, out.reshape(-1), self.threads)
        return out
