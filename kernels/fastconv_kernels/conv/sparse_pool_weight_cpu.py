"""The gradient of the weight from the pixels that were maxima alone: a quarter of the multiplications (NHWC).

    grad_weight[k, r, (s, c)] = sum over windows w of grad[w, k] * x[pixel(w, k) + (r, s, c)]

where ``pixel(w, k)`` is the one that forward found: ``pooled_windows`` says why a channel is taken by itself.  Of each image,
in its frame of zeros, the gradients and the places of their pixels are written out first, then every channel goes through all
windows.  *Parts* of the images, whose number depends on the problem alone, are summed apart and added in order.

Source: the sparsity of these gradients is folklore; Parashar et al., "SCNN: An Accelerator for Compressed-sparse Convolutional
Neural Networks", 2017, multiply nothing but what is not zero.
"""

import numpy as np
from numba import prange

from ..cpu.compile import jit, of_one_kind, serial, threaded
from ..cpu.places import block
from ..cpu.pooled import pixel_of, uncut
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry, load_first, nothing, store_first
from ..cpu.sums import add_parts
from ..cpu.tile import Tile, add_tile, load_tile, pointer, store_tile, zero
from ..cpu.tile_rows import add_scaled
from ..cpu.workspace import aligned, workspace
from .frame_cpu import frame_band
from .pooled_windows import SUMS, fills_too_little, geometry, pieces_of, tile_of

PARTS = 16
"""The most parts: as many as there are threads to use them on common machines."""

PARTS_BYTES = 2 * 1024 * 1024
"""The most memory for the sums of all parts: they must stay in the caches."""

STEPS = 6
"""What a channel of a window costs beside its multiply-adds, in vectors."""


@jit
def find_pixels(tile, lengths, steps, grad, places, values, pixels, biases, first):
    """values = the gradients of an image that ReLU lets through, pixels = where theirs are; their sums (+)= biases."""
    K, windows = lengths.K, lengths.P * lengths.Q
    for k in range(0, K, tile.lanes):
        total = nothing(grad) if first else load_first(biases + k, K - k)
        for w in range(windows):
            place = w * K + k
            found = load_first(places + place, K - k)
            gradient = uncut(load_first(grad + place, K - k), found)
            offset = w // lengths.Q * lengths.down + w % lengths.Q * lengths.across
            store_first(values + place, gradient, K - k)
            store_first(pixels + place, pixel_of(found, offset, steps), K - k)
            total = total + gradient
        store_first(biases + k, total, K - k)


@jit
def add_image(tile, lengths, frame, values, pixels, sums, first):
    """sums[k, piece] (+)= the sum over the windows of an image; all but the lengths are pointers."""
    K, windows = lengths.K, lengths.P * lengths.Q * lengths.K
    for k in range(K):
        for i in range(0, lengths.R, tile.rows):
            for j in range(0, lengths.length, tile.columns):
                source, total = frame + (i * lengths.line + j), zero(tile)
                for w in range(k, windows, K):
                    total = add_scaled(total, values[w], source + entry(pixels, w), lengths.line)
                place = block(tile, sums, tile.columns, tile.rows, tile.columns)
                store_tile(total if first else add_tile(total, load_tile(tile, place)), place)
                sums = sums + tile.rows * tile.columns


@jit
def add_share(tile, lengths, steps, images, operands, buffers, thread, threads):
    """The parts that are this thread's; operands: gradient, positions, images, sums of weights and of biases."""
    frame, places_of = pointer(tile, buffers[0], thread * buffers[0].shape[1]), pointer(tile, steps, 0)
    values = pointer(tile, buffers[1], thread * buffers[1].shape[1])
    pixels = pointer(tile, buffers[2], thread * buffers[2].shape[1])
    # Addresses before the loops: an array used in them would count its references, which two threads do by turns.
    grad, positions, x = pointer(tile, operands[0], 0), pointer(tile, operands[1], 0), pointer(tile, operands[2], 0)
    sums, biases = pointer(tile, operands[3], 0), pointer(tile, operands[4], 0)
    parts, size, width = operands[3].shape[0], operands[3].shape[1], operands[4].shape[1]
    extent = lengths.rows, lengths.columns, lengths.channels
    first_part, end_part = share(thread, threads, parts)
    for part in range(first_part, end_part):
        first, end = share(part, parts, images)
        for n in range(first, end):
            image, windows = x + n * extent[0] * extent[1] * extent[2], n * lengths.P * lengths.Q * lengths.K
            frame_band(tile, image, extent, -lengths.top, -lengths.left, lengths.height, lengths.width, frame)
            given = grad + windows, positions + windows, values, pixels
            find_pixels(tile, lengths, places_of, *given, biases + part * width, n == first)
            add_image(tile, lengths, frame, values, pixels, sums + part * size, n == first)


@threaded
def add_all(tile, lengths, steps, images, operands, buffers, threads):
    for thread in prange(threads):
        add_share(tile, lengths, steps, images, operands, buffers, np.intp(thread), threads)


@serial
def write_weight(tile, lengths, sums, out):
    """out[(r, s, c), k] = sums[k, piece, row, column]."""
    down, across = tile.rows, tile.columns
    pieces = (lengths.length + across - 1) // across
    size = sums.size // lengths.K
    for r in range(lengths.R):
        for e in range(lengths.length):
            source = ((r // down * pieces + e // across) * down + r % down) * across + e % across
            for k in range(lengths.K):
                out[(r * lengths.length + e) * lengths.K + k] = sums[k * size + source]


class BackwardWeight:
    """A plan for the gradients of the weight (R, S, C, K) and of the bias.  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        self.lengths, self.steps = geometry(problem)
        self.tile = tile or tile_of(self.lengths, problem.dtype, SUMS)
        weights = self.weights = problem.K * pieces_of(self.lengths, self.tile) * self.tile.rows * self.tile.columns
        parts = max(1, min(problem.N, PARTS, PARTS_BYTES // (weights * self.tile.itemsize)))
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), parts))
        # A tile may reach beyond the last row and column.
        spare = self.tile.rows * self.lengths.line + self.tile.columns
        self.buffers = (
            workspace(self.threads, self.lengths.frame + spare, problem.dtype),
            workspace(self.threads, self.lengths.windows, problem.dtype),
            workspace(self.threads, self.lengths.windows, np.int32),
        )
        self.sums, self.biases = workspace(parts, weights, problem.dtype), workspace(parts, problem.K, problem.dtype)
        self.total = aligned(self.sums.shape[1], problem.dtype)
        self.workspace_bytes = sum(array.nbytes for array in (*self.buffers, self.sums, self.biases, self.total))
        self._add_all, self._write_weight = of_one_kind(add_all), of_one_kind(write_weight)

    def __call__(self, grad, positions, x, out, grad_bias=None):
        """Write the gradient of the weight into ``out``, that of the bias into ``grad_bias``.

        Parameters
        ----------
        grad, positions : (N, P // 2, Q // 2, K), C-contiguous
            The gradient of the maxima, and where forward found them, uint8.
        x : (N, H, W, C), C-contiguous
        out : (R, S, C, K)
        grad_bias : (K,), optional
        """
        images = self.problem.N
        if not images:
            self.sums.fill(0)
            self.biases.fill(0)
        operands = grad.reshape(-1), positions.reshape(-1), x.reshape(-1), self.sums, self.biases
        self._add_all(self.tile, self.lengths, self.steps, images, operands, self.buffers, self.threads)
        add_parts(self.sums, self.total, self.threads)
        self._write_weight(self.tile, self.lengths, self.total[: self.weights], out.reshape(-1))
        if grad_bias is not None:
            add_parts(self.biases[:, : self.problem.K], grad_bias, self.threads)
        return out


def declines(problem):
    """Why another kernel should compute ``problem``.

    Against Winograd: 0.8 of its time, and no gradient to spread, with images of 14 x 14 x 32 (32 KB in their frame, the first
    cache has 48), 1.1 with 32 x 32 x 16, 1.8 with 28 x 28 x 64.
    """
    lanes = Tile(1, 1, problem.dtype).lanes
    return fills_too_little(problem, 1, STEPS, -(-problem.K // lanes) * lanes / problem.K)
