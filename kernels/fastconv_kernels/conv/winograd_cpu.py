"""Winograd's convolution F(4x4, 3x3) and its transpose: 2.25 multiplications for each output instead of 9 (NHWC).

    V[point, tile, c] = Bᵀ d B         every 6 x 6 patch of the input, 4 pixels apart         transform_patch
    M[point, tile, k] = V[point] @ U[point]        36 matrix products over the channels       accumulate_rows
    out[4 x 4 pixels] = Aᵀ M A + bias …                                                       transform_points
    U[point, c, k] = G g Gᵀ            every 3 x 3 filter, once for each change of the weight

Patches are taken in blocks small enough that V and M stay in the second cache.  Lanes run over channels in all transforms, so
that nothing is shuffled.  The gradient with respect to the input is the same with the filters turned by 180 degrees.

Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016; ``toom_cook`` for the matrices.
"""

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.places import block, rows_apart
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.tile import accumulate_rows, fitting, pointer, prefetch_tile, store_tile, zero
from ..cpu.transform import Transform, transform_patch, transform_points
from ..cpu.workspace import aligned, apart, caches, workspace
from .frame_cpu import flat, pack_panels
from .patches_cpu import transform_images
from .toom_cook import SQRT2, toom_cook

MATRICES = toom_cook(4, 3, SQRT2)
INPUT, TAPS, OUTPUT = (Transform(matrix) for matrix in (MATRICES.input, MATRICES.taps, MATRICES.output))
STEP, PATCH = MATRICES.output.shape
POINTS = PATCH * PATCH
TAP_TABLE = np.array(list(np.ndindex(3, 3)))

TILES = (6, 4), (8, 2), (6, 2), (4, 3)
"""(rows, vectors) of the products."""


@jit
def multiply_points(tile, v, u, m, pitches, shape, tiles):
    """m[point] = v[point] @ u[point] for every point; shape: (input channels, panels)."""
    v_pitch, u_pitch, m_pitch = pitches
    depth, panels = shape
    nr = tile.columns
    for point in range(POINTS):
        for j in range(panels):
            panel = u + point * u_pitch + j * depth * nr
            for t in range(0, tiles, tile.rows):
                place = block(tile, m + (point * m_pitch[0] + t * m_pitch[1] + j * nr), m_pitch[1], tiles - t, nr)
                prefetch_tile(place)
                a = rows_apart(tile, v + (point * v_pitch[0] + t * v_pitch[1]), v_pitch[1], tiles - t)
                store_tile(accumulate_rows(tile, zero(tile), a, panel, depth), place)


@jit
def write_images(tile, transform, m, pitch, epilogue, residual, out, extents, patches, first, end):
    """Transform the products of the patches ``first`` … ``end`` into output pixels; epilogue: (bias, rectifies)."""
    rows, columns, channels = extents
    down, across = patches[:2]
    bias, rectifies = epilogue
    for t in range(first, end):
        n, y, x = t // (down * across), t // across % down * STEP, t % across * STEP
        origin = ((n * rows + y) * columns + x) * channels
        source = m + (t - first) * pitch[1]
        strides = columns * channels, channels
        for k in range(0, channels, tile.lanes):
            extent = rows - y, columns - x, channels - k
            if residual is None:
                finish = bias + k, None, rectifies
                transform_points(transform, source + k, pitch[0], finish, out + (origin + k), strides, extent)
            else:
                finish = bias + k, pointer(tile, residual, origin + k), rectifies
                transform_points(transform, source + k, pitch[0], finish, out + (origin + k), strides, extent)


@jit
def convolve_share(tile, forth, back, operands, rectifies, shapes, patches, pitches, buffers, residual, thread, threads):
    """The blocks of patches that are this thread's, through the three stages; shapes: of an input and an output image.

    forth, back: the transforms of the patches and of the products
    """
    x, packed, bias, out = operands
    source, target = shapes[:3], shapes[3:]
    total, limit = patches[4], patches[5]
    v_pitch, u_pitch, m_pitch = pitches[:2], pitches[2], pitches[3:]
    v = pointer(tile, buffers[0], thread * buffers[0].shape[1])
    m = pointer(tile, buffers[1], thread * buffers[1].shape[1])
    image, weights, result = pointer(tile, x, 0), pointer(tile, packed, 0), pointer(tile, out, 0)
    shape = source[2], (target[2] + tile.columns - 1) // tile.columns
    blocks = (total + limit - 1) // limit
    first_block, end_block = share(thread, threads, blocks)
    for task in range(first_block, end_block):
        first, end = share(task, blocks, total)
        transform_images(tile, forth, image, source, patches[:4], STEP, v, v_pitch, first, end)
        multiply_points(tile, v, weights, m, (v_pitch, u_pitch, m_pitch), shape, end - first)
        epilogue = pointer(tile, bias, 0), rectifies
        write_images(tile, back, m, m_pitch, epilogue, residual, result, target, patches[:4], first, end)


@threaded
def convolve(tile, forth, back, operands, rectifies, shapes, patches, pitches, buffers, residual, threads):
    for thread in prange(threads):
        convolve_share(
            tile, forth, back, operands, rectifies, shapes, patches, pitches, buffers, residual, np.intp(thread), threads
        )


@jit
def transform_filters(tile, transform, filters, turned, depth, panels, packed, pitch):
    """packed[point, panel, c, column] = G g Gᵀ for the filters [panel, tap, c, column]; ``turned``: by 180 degrees.

    pitch: from point to point in ``packed``
    """
    size = depth * tile.columns
    strides = (-3 * size, -size) if turned else (3 * size, size)
    for j in range(panels):
        first = pointer(tile, filters, (9 * j + (8 if turned else 0)) * size)
        target = pointer(tile, packed, j * size)
        for i in range(0, size, tile.lanes):
            transform_patch(transform, first + i, strides, None, tile.lanes, target + i, pitch)


ACCURACY = 64.0
"""Factor on the bound of a plain sum, for data of one magnitude: an error spreads over the 6 x 6 patch it arises in.

Measured on normal data: below 1 from 8 channels on, up to 15 where a sum has a single term.
"""


def refuses(problem):
    """Why Winograd cannot compute ``problem``."""
    against = []
    if (problem.R, problem.S) != (3, 3):
        against.append(f"the window is {problem.R} x {problem.S}, not 3 x 3")
    if problem.stride != (1, 1) or problem.dilation != (1, 1):
        against.append("it takes neither stride nor dilation")
    if problem.groups != 1:
        against.append("it takes no groups")
    return tuple(against)


FEW_CHANNELS = 8
"""From so many on it wins: rows "n16 c3 … k16" and "n16 c8 … k8" of benchmarks/results/crossovers.json."""


def declines(problem):
    """Why another kernel should compute ``problem``."""
    if min(problem.C, problem.K) < FEW_CHANNELS:
        return (f"with fewer than {FEW_CHANNELS} channels the transforms cost more than the products save",)
    patches = -(-problem.P // STEP) * -(-problem.Q // STEP)
    if patches * POINTS >= problem.P * problem.Q * problem.R * problem.S:
        return (f"the output fills its tiles of {STEP} x {STEP} so little that nothing is saved",)
    return ()


def block_bytes(filter_bytes):
    """Memory for V and M of one block of patches: they stay in the second cache while the filters pass through it.

    Filters too large for the third cache come from memory for every block: then few, large blocks cost less.
    """
    memory = caches()
    return memory.level2 // 2 if filter_bytes <= memory.level3 // 2 else memory.level2 * 16


class _Winograd:
    """What the plans of both directions share.  One call at a time.

    source, target: (rows, columns, channels); top, left: where the first patch begins in the source.
    """

    def __init__(self, problem, threads, source, target, top, left, tile):
        self.problem = problem
        self.tile = tile or fitting(TILES, target[2], problem.dtype)
        lanes, nr, itemsize = self.tile.lanes, self.tile.columns, self.tile.itemsize
        self.shapes, self.panels = (*source, *target), -(-target[2] // nr)
        down, across = -(-target[0] // STEP), -(-target[1] // STEP)
        total = problem.N * down * across
        # A row more than the channels need: rows that are a power of two apart would share the lines of the cache.
        v_row, m_row = -(-source[2] // lanes) * lanes + lanes, self.panels * nr + lanes
        limit = block_bytes(POINTS * source[2] * self.panels * nr * itemsize) // (POINTS * (v_row + m_row) * itemsize)
        limit = max(self.tile.rows, min(limit // self.tile.rows * self.tile.rows, -(-total // max(1, threads))))
        self.patches = down, across, top, left, total, limit
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), -(-total // limit)))
        v_point, m_point = (apart(limit * row, problem.dtype) for row in (v_row, m_row))
        self.pitches = v_point, v_row, apart(self.panels * source[2] * nr, problem.dtype), m_point, m_row
        self.buffers = tuple(workspace(self.threads, POINTS * pitch, problem.dtype) for pitch in (v_point, m_point))
        self.filters = aligned(9 * self.pitches[2], problem.dtype)
        self.no_bias = np.zeros(target[2], problem.dtype)
        self.workspace_bytes = sum(buffer.nbytes for buffer in self.buffers) + self.filters.nbytes

    def _pack(self, weight, strides, turned, packed):
        """The filters at all points; strides: from one tap row, tap column, weight row and weight column to the next."""
        depth, width, pitch = self.shapes[2], self.shapes[5], self.pitches[2]
        if packed is None:
            packed = aligned(POINTS * pitch, self.problem.dtype)
        pack_panels(self.tile, weight, (*strides, 0), TAP_TABLE, depth, width, 1, self.filters, 0)
        transform_filters(self.tile, TAPS, self.filters, turned, depth, self.panels, packed, pitch)
        return packed

    def _run(self, x, packed, bias, residual, activation, out):
        operands = x.reshape(-1), packed, self.no_bias if bias is None else bias, out.reshape(-1)
        other = None if residual is None else residual.reshape(-1)
        rest = self.shapes, self.patches, self.pitches, self.buffers, other, self.threads
        convolve(self.tile, INPUT, OUTPUT, operands, activation == "relu", *rest)
        return out


class Forward(_Winograd):
    """A plan for the convolution of NHWC images of one shape."""

    def __init__(self, problem, threads=1, tile=None):
        source, target = (problem.H, problem.W, problem.C), (problem.P, problem.Q, problem.K)
        super().__init__(problem, threads, source, target, -problem.padding[0][0], -problem.padding[1][0], tile)

    def pack(self, weight, packed=None):
        """The transformed weight (3, 3, C, K), of any strides."""
        line, strides = flat(weight)
        return self._pack(line, strides, False, packed)

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
        return self._run(x, packed, bias, residual, activation, out)


class BackwardInput(_Winograd):
    """A plan for the gradient with respect to the input, from (N, P, Q, K) to (N, H, W, C)."""

    def __init__(self, problem, threads=1, tile=None):
        source, target = (problem.P, problem.Q, problem.K), (problem.H, problem.W, problem.C)
        super().__init__(problem, threads, source, target, problem.padding[0][0] - 2, problem.padding[1][0] - 2, tile)

    def pack(self, weight, packed=None):
        """The transformed weight (3, 3, C, K), of any strides, turned by 180 degrees, its channels exchanged."""
        line, (down, right, column, row) = flat(weight)
        return self._pack(line, (down, right, row, column), True, packed)

    def __call__(self, grad_output, packed, out):
        """Write the gradient (N, H, W, C) for the gradient (N, P, Q, K) of the output into ``out``; all C-contiguous."""
        return self._run(grad_output, packed, None, None, None, out)
