"""Winograd's convolution F(m x m, r x r) and its transpose: (m + r - 1)² products for m² outputs instead of m² r² (NHWC).

    V[point, patch, c] = Bᵀ d B        every n x n patch of the input, m pixels apart, n = m + r - 1      transform_images
    U[point, c, k] = G g Gᵀ            every r x r filter, once for each change of the weight             transform_filters
    M[point, patch, k] = V[point] @ U[point]        n² matrix products over the channels                  multiply_points
    out[m x m pixels] = Aᵀ M A + bias …                                                                   write_images

F(4x4, 3x3) multiplies 36 times where the definition does 144 times, F(2x2, 3x3) 16 instead of 36, F(4x4, 5x5) 64 instead of
400.  Patches are taken in blocks small enough that V and M stay in the second cache.  Lanes run over channels in all
transforms, so that nothing is shuffled.  The gradient with respect to the input is the same with the filters turned by 180
degrees.  Where max pooling follows, the m x m outputs are whole windows, and only their maxima leave the registers.

A NaN or an infinity spreads over its patch, and large numbers may overflow on the way: vectors of outputs that are not
finite are marked, and ``spoilt_cpu`` sums them as the definition says.

Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016; ``toom_cook`` for the matrices.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.pack import pack
from ..cpu.places import block, rows_apart
from ..cpu.share import THREAD_FLOPS, share, stripe, threads_for
from ..cpu.tile import accumulate_rows, fitting, pointer, prefetch_tile, store_tile, zero
from ..cpu.transform import Scheme, transform_patch, transform_points
from ..cpu.workspace import aligned, apart, caches, workspace
from ..problems.pooled import WINDOW
from .frame_cpu import flat
from .patches_cpu import Patches, Points, corner, offset_of, transform_images
from .spoilt_cpu import sum_marked
from .toom_cook import POINTS, toom_cook

TILES = (6, 4), (8, 2), (6, 2), (4, 3)
"""(rows, vectors) of the products."""

CHUNK = 32
"""Input channels whose filters are transformed together: they stay in the second cache meanwhile."""


class Sizes(NamedTuple):
    """How the work is cut and where the arrays of points are, in elements.

    patches, blocks : of all images; what a thread does at a time
    panels : of output channels
    u_point, v_point, m_point : from one point to the next in U, V and M
    v_row, m_row : from one patch to the next in V and M
    """

    patches: int
    blocks: int
    panels: int
    u_point: int
    v_point: int
    v_row: int
    m_point: int
    m_row: int


@jit
def multiply_points(tile, scheme, v, u, m, depth, panels, rows):
    """m[point, :rows] = v[point, :rows] @ u[point] for every point; u.row: from one panel of ``depth`` rows to the next."""
    nr = tile.columns
    for point in range(scheme.points):
        for j in range(panels):
            weights = u.base + (point * u.point + j * u.row)
            for t in range(0, rows, tile.rows):
                place = block(tile, m.base + (point * m.point + t * m.row + j * nr), m.row, rows - t, nr)
                prefetch_tile(place)
                a = rows_apart(tile, v.base + (point * v.point + t * v.row), v.row, rows - t)
                store_tile(accumulate_rows(tile, zero(tile), a, weights, depth), place)


@jit
def write_images(tile, scheme, m, operands, flags, target, first, end):
    """Transform the products of the patches ``first`` … ``end`` into outputs; operands and flags: see ``convolve``.

    Returns how many vectors of outputs were marked because they may not be finite.
    """
    _, _, bias, residual, out, positions, marks = operands
    rectifies, keeps = flags
    channels, marked = target.channels, 0
    strides, vectors = (target.columns * channels, channels), (channels + tile.lanes - 1) // tile.lanes
    for t in range(first, end):
        _, y, x = corner(target, t)
        origin = offset_of(target, t)
        for k in range(0, channels, tile.lanes):
            place, extent = origin + k, (target.rows - y, target.columns - x, channels - k)
            epilogue = pointer(tile, bias, k), pointer(tile, residual, place), rectifies
            targets = pointer(tile, out, place), pointer(tile, positions, place if keeps else 0), keeps
            products = m.base + ((t - first) * m.row + k)
            if transform_points(scheme.output, products, m.point, epilogue, targets, strides, extent):
                marks[t * vectors + k // tile.lanes] = 1
                marked += 1
    return marked


@jit
def convolve_share(tile, scheme, operands, flags, source, target, sizes, buffers, thread, threads):
    """The blocks of patches that are this thread's, through the three stages."""
    x, packed = operands[:2]
    v = Points(pointer(tile, buffers[0], thread * buffers[0].shape[1]), sizes.v_point, sizes.v_row)
    m = Points(pointer(tile, buffers[1], thread * buffers[1].shape[1]), sizes.m_point, sizes.m_row)
    u = Points(pointer(tile, packed, 0), sizes.u_point, source.channels * tile.columns)
    first_block, end_block = share(thread, threads, sizes.blocks)
    marked = 0
    for task in range(first_block, end_block):
        first, end = stripe(task, sizes.blocks, sizes.patches, tile.rows)
        transform_images(tile, scheme.input, pointer(tile, x, 0), source, v, first, end)
        multiply_points(tile, scheme, v, u, m, source.channels, sizes.panels, end - first)
        marked += write_images(tile, scheme, m, operands, flags, target, first, end)
    return marked


@threaded
def convolve(tile, scheme, operands, flags, source, target, sizes, buffers, threads):
    """All of it; returns how many vectors of outputs were marked.

    operands : images, packed filters, bias, residual or None, outputs, positions or None, marks
    flags : whether relu follows, whether the positions of maxima are kept
    source, target : how the images and the outputs are cut into patches
    buffers : V and M, a row for each thread
    """
    marked = 0
    for thread in prange(threads):
        marked += convolve_share(tile, scheme, operands, flags, source, target, sizes, buffers, np.intp(thread), threads)
    return marked


@jit
def transform_chunk(tile, scheme, weight, strides, turned, j, first, end, shape, filters, u):
    """Filters of the input channels ``first`` … ``end`` and panel ``j``, copied to their panel and transformed to ``u``."""
    down, right, row, along = strides
    depth, width = shape
    nr, window = tile.columns, scheme.taps.inputs
    taps = window * window
    for tap in range(taps):
        read = taps - 1 - tap if turned else tap
        origin = read // window * down + read % window * right + first * row + j * nr * along
        copied = filters + ((j * taps + tap) * depth + first) * nr
        pack(tile, nr, pointer(tile, weight, origin), along, row, min(nr, width - j * nr), end - first, copied)
    size = depth * nr
    for i in range(first * nr, end * nr, tile.lanes):
        place = u.base + (j * u.row + i)
        transform_patch(scheme.taps, filters + (j * taps * size + i), (window * size, size), None, tile.lanes, place, u.point)


@threaded
def transform_filters(tile, scheme, weight, strides, turned, shape, packed, u_point, threads):
    """packed = U[point, panel, c, column], then the filters themselves, [panel, tap, c, column].

    weight: flat; strides: in elements from one tap row, tap column, input and output channel to the next; turned: by 180
    degrees; shape: input and output channels; u_point: from point to point
    """
    for thread in prange(threads):
        depth, width = shape
        chunks, panels = (depth + CHUNK - 1) // CHUNK, (width + tile.columns - 1) // tile.columns
        u = Points(pointer(tile, packed, 0), u_point, depth * tile.columns)
        filters = pointer(tile, packed, scheme.points * u_point)
        first_task, end_task = share(thread, threads, panels * chunks)
        for task in range(first_task, end_task):
            first, end = share(task % chunks, chunks, depth)
            transform_chunk(tile, scheme, weight, strides, turned, task // chunks, first, end, shape, filters, u)


ACCURACY = {4: 64.0, 2: 8.0}
"""Outputs on a side → factor on the bound of a plain sum, for data of one magnitude: an error spreads over its patch.

Measured on normal data: below 1 from 8 channels on; where a sum has a single term up to 15 (m = 4) and 2 (m = 2).
"""


def refuses(problem, outputs):
    """Why F(outputs x outputs, ·) cannot compute ``problem``."""
    against = []
    windows = [taps for side, taps in POINTS if side == outputs]
    if problem.R != problem.S or problem.R not in windows:
        known = " or ".join(f"{taps} x {taps}" for taps in windows)
        against.append(f"the window is {problem.R} x {problem.S}, not {known}")
    if problem.stride != (1, 1) or problem.dilation != (1, 1):
        against.append("it takes neither stride nor dilation")
    if problem.groups != 1:
        against.append("it takes no groups")
    return tuple(against)


FEW_CHANNELS = 8
"""From so many on it wins: rows "n16 c3 … k16" and "n16 c8 … k8" of benchmarks/results/crossovers.json."""


def declines(problem, outputs):
    """Why another kernel should compute ``problem``."""
    if min(problem.C, problem.K) < FEW_CHANNELS:
        return (f"with fewer than {FEW_CHANNELS} channels the transforms cost more than the products save",)
    patches = ceiling(problem.P, outputs) * ceiling(problem.Q, outputs)
    if patches * (outputs + problem.R - 1) ** 2 >= problem.P * problem.Q * problem.R * problem.S:
        return (f"the output fills its tiles of {outputs} x {outputs} so little that nothing is saved",)
    return ()


def block_bytes(filter_bytes):
    """Memory for V and M of one block of patches: they stay in the second cache while the filters pass through it.

    Filters too large for the third cache come from memory for every block: then few, large blocks cost less.
    """
    memory = caches()
    return memory.level2 // 2 if filter_bytes <= memory.level3 // 2 else memory.level2 * 16


def ceiling(length, unit):
    """How many units cover ``length``."""
    return -(-length // unit)


class _Winograd:
    """What the plans of both directions share.  One call at a time.

    source: (rows, columns, channels, top, left), top and left where the first patch begins; target: (rows, columns,
    channels); turned: whether the filters are turned by 180 degrees.
    """

    def __init__(self, problem, threads, outputs, window, source, target, turned, tile):
        self.problem, self.window, self.turned = problem, window, turned
        self.scheme = Scheme(*toom_cook(outputs, window, POINTS[outputs, window]))
        (rows, columns, depth, top, left), width, points = source, target[2], self.scheme.points
        self.tile = tile or fitting(TILES, width, problem.dtype)
        lanes, nr, itemsize = self.tile.lanes, self.tile.columns, self.tile.itemsize
        down, across = ceiling(target[0], outputs), ceiling(target[1], outputs)
        self.source = Patches(rows, columns, depth, down, across, top, left, outputs)
        self.target = Patches(*target, down, across, 0, 0, outputs)
        patches, panels = problem.N * down * across, ceiling(width, nr)
        # A row more than the channels need: rows that are a power of two apart would share the lines of the cache.
        v_row, m_row = ceiling(depth, lanes) * lanes + lanes, panels * nr + lanes
        limit = block_bytes(points * depth * panels * nr * itemsize) // (points * (v_row + m_row) * itemsize)
        limit = max(self.tile.rows, limit // self.tile.rows * self.tile.rows)
        self.threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        blocks = ceiling(ceiling(patches, limit), self.threads) * self.threads  # as many for one thread as for another
        limit = ceiling(ceiling(patches, self.tile.rows), max(1, blocks)) * self.tile.rows
        u_point, v_point, m_point = (
            apart(size, problem.dtype) for size in (panels * depth * nr, limit * v_row, limit * m_row)
        )
        self.sizes = Sizes(patches, blocks, panels, u_point, v_point, v_row, m_point, m_row)
        self.buffers = tuple(workspace(self.threads, points * pitch, problem.dtype) for pitch in (v_point, m_point))
        self.no_bias = np.zeros(width, problem.dtype)
        self.marks = np.zeros(patches * ceiling(width, lanes), np.uint8)
        self.workspace_bytes = sum(buffer.nbytes for buffer in self.buffers) + self.marks.nbytes

    def _pack(self, weight, strides, packed):
        """The filters at all points and as they are; strides: from one tap row and column, input and output channel on."""
        depth, width, points = self.source.channels, self.target.channels, self.scheme.points
        if packed is None:
            packed = aligned((points + self.window**2) * self.sizes.u_point, self.problem.dtype)
        threads = threads_for(self.threads, 2 * points * self.window**2 * depth * width, THREAD_FLOPS)
        rest = weight, tuple(strides), self.turned, (depth, width), packed, self.sizes.u_point, threads
        transform_filters(self.tile, self.scheme, *rest)
        return packed

    def _run(self, x, packed, bias, residual, out, positions=None, rectifies=False, keeps=False):
        bias = self.no_bias if bias is None else bias
        operands = x.reshape(-1), packed, bias, residual, out.reshape(-1), positions, self.marks
        rest = operands, (rectifies, keeps), self.source, self.target
        if convolve(self.tile, self.scheme, *rest, self.sizes, self.buffers, self.threads):
            u_size = self.scheme.points * self.sizes.u_point
            sum_marked(self.tile, self.scheme, *rest, u_size, self.buffers[0], self.threads)
        return out


class Forward(_Winograd):
    """A plan for the convolution of NHWC images of one shape by F(outputs x outputs, R x R)."""

    def __init__(self, problem, threads=1, tile=None, *, outputs=4):
        (top, _), (left, _) = problem.padding
        source, target = (problem.H, problem.W, problem.C, -top, -left), (problem.P, problem.Q, problem.K)
        super().__init__(problem, threads, outputs, problem.R, source, target, False, tile)

    def pack(self, weight, packed=None):
        """The transformed weight (R, R, C, K), of any strides."""
        return self._pack(*flat(weight), packed)

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        """Write activation(conv(x, weight) + bias + residual) into ``out``.

        Parameters
        ----------
        x : (N, H, W, C), C-contiguous
        packed : what ``pack`` returned
        out, residual : (N, P, Q, K), C-contiguous
        bias : (K,)
        activation : None or "relu"
        """
        residual = None if residual is None else residual.reshape(-1)
        return self._run(x, packed, bias, residual, out, rectifies=activation == "relu")


class BackwardInput(_Winograd):
    """A plan for the gradient with respect to the input, from (N, P, Q, K) to (N, H, W, C)."""

    def __init__(self, problem, threads=1, tile=None, *, outputs=4):
        (top, _), (left, _) = ((before - problem.R + 1, after) for before, after in problem.padding)
        source, target = (problem.P, problem.Q, problem.K, top, left), (problem.H, problem.W, problem.C)
        super().__init__(problem, threads, outputs, problem.R, source, target, True, tile)

    def pack(self, weight, packed=None):
        """The transformed weight (R, R, C, K), of any strides, turned by 180 degrees, its channels exchanged."""
        line, (down, right, channel, output) = flat(weight)
        return self._pack(line, (down, right, output, channel), packed)

    def __call__(self, grad_output, packed, out):
        """Write the gradient (N, H, W, C) for the gradient (N, P, Q, K) of the output into ``out``; all C-contiguous."""
        return self._run(grad_output, packed, None, None, out)


class PooledForward(Forward):
    """A plan for convolution, bias, ReLU and 2 x 2 max pooling of NHWC images of one shape."""

    def __init__(self, problem, threads=1, tile=None, *, outputs=4):
        super().__init__(problem.conv, threads, tile, outputs=outputs)
        self.problem = problem
        self.target = self.target._replace(rows=problem.P, columns=problem.Q, step=outputs // WINDOW)
        self.no_positions = np.zeros(1, np.uint8)

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
        places = self.no_positions if positions is None else positions.reshape(-1)
        return self._run(x, packed, bias, None, out, places, True, positions is not None)
