"""Winograd's algorithm for the gradient of the weight: F(r x r, m x m), the gradient's m x m patches as the taps.

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

from itertools import product

import numpy as np

from ..cpu.share import THREAD_FLOPS, threads_for
from ..cpu.sums import add_parts
from ..cpu.tile import fitting
from ..cpu.transform import Scheme
from ..cpu.workspace import apart, caches, even, workspace
from .cells_cpu import by_cells, cells_for, taps_of
from .patch_ends import cut_images
from .planes_cpu import turn_strips
from .spoilt_cpu import add_marked
from .toom_cook import dilated
from .walk import exceed_caches
from .winograd_weight_stages_cpu import Sizes, add_tasks

TILES = (8, 2), (6, 4), (14, 2), (8, 3), (6, 2), (4, 3)
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

BLOCK_COLUMNS = 64
"""Output channels in a block of a large M, of which D is formed at a time: the more, the fewer times V is read.

On two threads of a Granite Rapids 13x13 with 384 and 256 channels, 28x28 and 7x7 with 512 and 512 took as long with 64 as with
128, of planes 0.92 to 0.95 times, and three quarters of the memory.
"""

TRANSFORMS = 20
"""Products for which the transforms of a patch take as long, for each input and each output channel."""


def longest(length, ranges, unit):
    """The longest of the ``ranges`` into which ``stripe`` cuts ``length``."""
    units = -(-length // unit)
    return -(-units // ranges) * unit


def ranges_for(tile, channels, parts, threads, cuts_inputs):
    """Into how many ranges the input and the output channels are cut, so that the threads are done first."""
    inputs, outputs = channels

    def time(ranges):
        depth, width = longest(inputs, ranges[0], tile.rows), longest(outputs, ranges[1], tile.columns)
        return -(-parts * ranges[0] * ranges[1] // threads) * (depth * width + TRANSFORMS * (depth + width))

    most = min(threads, -(-inputs // tile.rows)) if cuts_inputs else 1, min(threads, -(-outputs // tile.columns))
    return min(((i, o) for i in range(1, most[0] + 1) for o in range(1, min(most[1], threads // i) + 1)), key=time)


class BackwardWeight:
    """A plan for the gradient with respect to the weight (R, R, C, K).  One call at a time."""

    def __init__(self, problem, threads=1, tile=None, *, outputs=4):
        self.cells = None
        self._prepare(problem, threads, tile, outputs, dilated(problem.R, outputs, problem.stride[0]), problem.C)
        reach = self._pixels(outputs)[0]
        self._end(reach * ((self.source.across - 1) * self.source.step + reach))

    def _prepare(self, problem, threads, tile, outputs, matrices, depth):
        """depth: input channels of the products."""
        self.problem, self.scheme, self.window, self.depth = problem, Scheme(*matrices), len(matrices[0]), depth
        self.planes = problem.layout == "NCHW"
        self.tile = tile or fitting(TILES, problem.K, problem.dtype, depth)
        (top, _), (left, _) = problem.padding
        stride = problem.stride[0]

        def existing(few):
            pixels = {i * stride + j for i in range(few) for j in range(self.window)}
            return range(self.window), range(few), sorted(pixels)

        images = problem.N, (problem.H, problem.W, problem.C, -top, -left), (problem.P, problem.Q, problem.K)
        known = (matrices, existing, problem.dtype, self.planes) if self.cells is None else ()
        self.source, self.gradient, self.ends, self.replacing = cut_images(*images, (outputs * stride, outputs), *known)
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        self.sizes = sizes = self._cut(problem, problem.N * self.source.down * self.source.across, threads)
        self.threads = min(threads, sizes.parts * sizes.inputs * sizes.outputs)
        points, lanes = self.scheme.points, self.tile.lanes
        # The last tile reads beyond the last channel; a plain sum needs a patch of each kind and its results.
        reach, window = self._pixels(outputs)
        spare = max(self.tile.rows, (reach**2 + outputs**2 + window**2) * lanes)
        strip = window**2 * problem.C * lanes if self.planes and self.cells is None else 0
        v_length = max(points * sizes.v_point + spare + reach**2 * lanes, strip)
        lengths = v_length, points * sizes.d_point, points * sizes.m_point
        self.buffers = tuple(workspace(self.threads, length, problem.dtype) for length in lengths)
        self.streamed = exceed_caches(problem)
        self.sums = np.zeros((sizes.parts if sizes.parts > 1 else 0, self.window**2 * depth * problem.K), problem.dtype)
        self.marks = np.zeros(sizes.parts * depth * -(-problem.K // lanes), np.uint8)

    def _end(self, row_of_patches):
        """Room for the pixels of a row of patches of planes, and what all takes."""
        row_of_patches *= self.tile.lanes if self.planes else 0
        self.buffers += (workspace(self.threads, row_of_patches, self.problem.dtype),)
        self.streamed = self.streamed and not self.planes
        self.workspace_bytes = sum(buffer.nbytes for buffer in (*self.buffers, self.sums, self.marks))

    def _pixels(self, outputs):
        """Pixels on a side of a patch, and taps on a side of the gradient."""
        return (outputs - 1) * self.problem.stride[0] + self.window, self.window

    def _cut(self, problem, patches, threads):
        """How the work is cut: parts and groups by the problem alone, ranges and blocks by the threads too."""
        tile, memory, point_bytes = self.tile, caches(), self.scheme.points * self.tile.itemsize
        weight_bytes, depth = self.window**2 * self.depth * problem.K * tile.itemsize, self.depth
        v_row, d_row = self._rows(depth, problem.K)
        stays, limit = point_bytes * depth * d_row <= memory.level2, GROUP
        if stays:
            parts = max(1, min(PARTS, patches // PART, max(2, PARTS_BYTES // weight_bytes)))
            limit = min(GROUP, max(BLOCK, memory.level2 // 2 // (point_bytes * (v_row + d_row))))
        else:
            parts = 2 if patches >= HALVED and weight_bytes <= PARTS_BYTES else 1
        group = even(-(-patches // parts), limit, 1)
        ranges = ranges_for(tile, (depth, problem.K), parts, threads, self.cells is None)
        rows, columns = longest(depth, ranges[0], tile.rows), longest(problem.K, ranges[1], tile.columns)
        v_row, d_row = self._rows(rows, columns)
        if not stays:
            columns = even(columns, BLOCK_COLUMNS, tile.columns)
            rows = even(rows, memory.level2 // 4 // (point_bytes * columns), tile.rows)
            _, d_row = self._rows(rows, columns)
        m_row = -(-columns // tile.columns) * tile.columns + tile.lanes
        lengths = group * v_row, group * d_row, rows * m_row
        v_point, d_point, m_point = (apart(length, problem.dtype) for length in lengths)
        counts = patches, group, depth, parts, *ranges, stays
        return Sizes(*counts, rows, columns, v_point, v_row, d_point, d_row, m_point, m_row)

    def _rows(self, inputs, outputs):
        """Elements of a row of V and of D.

        They are a vector more than the channels need: rows that are a power of two apart would share the lines of the cache.
        """
        lanes, nr = self.tile.lanes, self.tile.columns
        return -(-inputs // lanes) * lanes + lanes, -(-outputs // nr) * nr + lanes

    def __call__(self, grad_output, x, out):
        """Write the gradient (R, R, C, K) into ``out``, for grad_output (N, P, Q, K) and x (N, H, W, C).

        For a problem in NCHW (K, C, R, R), (N, K, P, Q) and (N, C, H, W).
        """
        if not self.problem.N:
            out[...] = 0
            return out
        sums = self.sums if len(self.sums) else out
        self._add(grad_output, x, sums)
        if len(self.sums):
            add_parts(self.sums, out.reshape(-1), self.threads)
        if self.planes:
            shape = self.window**2, self.problem.C, self.problem.K
            turn_strips(self.tile, out.reshape(-1), shape, self.buffers[0], self.threads)
        return out

    def _add(self, grad_output, x, sums):
        """The gradients of the parts."""
        operands = grad_output.reshape(-1), x.reshape(-1), sums.reshape(-1), self.marks
        cut = self.tile, self.scheme, operands, self.source, self.gradient, self.ends, self.cells, self.sizes
        if add_tasks(*cut, self.buffers, (self.streamed, self.planes), self.threads):
            self._sum_marked(operands)

    def _sum_marked(self, operands):
        """Write the gradients that were marked."""
        if self.planes:  # rare enough to convert all for it
            self._sum_marked_strips(*operands)
            return
        cut = self.scheme, operands, self.source, self.gradient, self.sizes.parts
        add_marked(self.tile, *cut, self.buffers[0], len(self.buffers[0]))

    def _channels_last(self, grad_output, x):
        """Both from planes, lines as they are."""
        shaped = grad_output.reshape(self.problem.out_shape), x.reshape(self.problem.x_shape)
        return tuple(np.ascontiguousarray(a.transpose(0, 2, 3, 1)).reshape(-1) for a in shaped)

    def _sum_marked_strips(self, grad_output, x, sums, marks):
        """As of images with channels last, from which they come to their strips."""
        problem, parts, taps, lanes = self.problem, self.sizes.parts, self.window**2, self.tile.lanes
        images = self._channels_last(grad_output, x)
        marked, plain = marks.reshape(parts, problem.C, -1).astype(bool), np.zeros(sums.size, sums.dtype)
        cut = self.scheme, (*images, plain, marks), self.source, self.gradient, parts
        add_marked(self.tile, *cut, self.buffers[0], len(self.buffers[0]))
        plain, sums = plain.reshape(parts, taps, problem.C, problem.K), sums.reshape(parts, -1)
        for part, k in product(range(parts), range(0, problem.K, lanes)):
            found = plain[part, :, :, k : k + lanes].transpose(1, 0, 2)
            strip = sums[part, k * taps * problem.C :][: found.size].reshape(found.shape)
            np.copyto(strip, found, where=marked[part, :, k // lanes, None, None])


class PhasesBackwardWeight(BackwardWeight):
    """A plan for the gradient with respect to the weight, from images of few channels, whose phases are channels.

    It is that of a window of stride 1 over cells (``cells_cpu``), whose taps go to their places in the end.
    """

    def __init__(self, problem, threads=1, tile=None, *, outputs=4):
        taps, stride, across = taps_of(problem), problem.stride[0], -(-problem.Q // outputs)
        reach = outputs + taps - 1
        self.cells = cells_for(problem, across, outputs, reach)
        self._prepare(problem, threads, tile, outputs, dilated(taps, outputs, 1), stride**2 * problem.C)
        frame = reach * stride * self.cells.width * problem.C + self.tile.lanes
        self.buffers += (workspace(self.threads, frame, problem.dtype),)
        self.sums = np.zeros((self.sizes.parts, taps**2 * self.depth * problem.K), problem.dtype)
        self._end(self.gradient.across * outputs**2)

    def _pixels(self, outputs):
        stride = self.cells.stride
        return (outputs + self.window - 1) * stride, self.window * stride

    def __call__(self, grad_output, x, out):
        """Write the gradient (R, S, C, K) into ``out``, for grad_output (N, P, Q, K) and x (N, H, W, C).

        For a problem in NCHW (K, C, R, S), (N, K, P, Q) and (N, C, H, W).
        """
        if not self.problem.N:
            out[...] = 0
            return out
        self._add(grad_output, x, self.sums)
        add_parts(self.sums, self.sums[0], self.threads)
        taps, stride, problem = self.window, self.cells.stride, self.problem
        weight = out.transpose(2, 3, 1, 0) if self.planes else out
        for piece, cell in by_cells(problem, weight, self.sums[0].reshape(taps, taps, stride, stride, problem.C, problem.K)):
            piece[...] = cell
        return out

    def _sum_marked(self, operands):
        """As of a window of whole cells, taps that it has not included; its order of taps is another."""
        grad_output, x, sums, marks = operands
        if self.planes:
            grad_output, x = self._channels_last(grad_output, x)
        (reach, window), stride, taps, parts = (
            self._pixels(self.gradient.step),
            self.cells.stride,
            self.window,
            self.sizes.parts,
        )
        C, K, lanes = self.problem.C, self.problem.K, self.tile.lanes
        pixels = Scheme(np.zeros((window, reach)), np.zeros((reach, self.gradient.step)), np.zeros((reach, reach)))
        marked = marks.reshape(parts, stride**2, C, -1).any(1)
        marks[:] = 0
        found, plain = marked.astype(np.uint8).reshape(-1), np.zeros(sums.size, sums.dtype)
        cut = pixels, (grad_output, x, plain, found), self.source, self.gradient, parts
        add_marked(self.tile, *cut, self.buffers[0], len(self.buffers[0]))
        where = marked.repeat(lanes, -1)[:, :, :K].reshape(parts, 1, 1, 1, 1, C, K)
        plain = plain.reshape(parts, taps, stride, taps, stride, C, K).transpose(0, 1, 3, 2, 4, 5, 6)
        np.copyto(sums.reshape(plain.shape), plain, where=where)
