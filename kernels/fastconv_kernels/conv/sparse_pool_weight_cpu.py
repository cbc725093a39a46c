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
from ..cpu.simd import entry, load_first, store_first
from ..cpu.sums import add_parts
from ..cpu.tile import Tile, add_tile, load_tile, pointer, store_tile, zero
from ..cpu.tile_rows import add_scaled
from ..cpu.workspace import aligned, workspace
from .frame_cpu import clear, frame_band
from .pooled_windows import SUMS, fills_too_little, geometry, origins_of, pieces_of, tile_of

PARTS = 16
"""The most parts: as many as there are threads to use them on common machines."""

PARTS_BYTES = 2 * 1024 * 1024
"""The most memory for the sums of all parts: they must stay in the caches."""

CHAINS = 8
"""Sums with fewer vectors wait for each other: two multipliers take four cycles.  LeNet-5's first layer 185 µs for 205."""

STEPS = 6
"""What a channel of a window costs beside its multiply-adds, in vectors."""


@jit
def find_pixels(tile, count, origins, steps, grad, places, values, pixels):
    """values = the gradients of an image that ReLU lets through, pixels = where theirs are: of all windows and channels."""
    for e in range(0, count, tile.lanes):
        found = load_first(places + e, count - e)
        store_first(values + e, uncut(load_first(grad + e, count - e), found), count - e)
        store_first(pixels + e, pixel_of(load_first(origins + e, count - e), found, steps), count - e)


@jit
def add_image(tile, lengths, frame, values, pixels, sums, biases, first):
    """sums[k, piece] (+)= the sum over the windows of an image, biases[k] += that of their gradients.

    All but the lengths are pointers.  If a tile has few vectors, every other window has sums of its own.
    """
    K, windows = lengths.K, lengths.P * lengths.Q * lengths.K
    for k in range(K):
        for i in range(0, lengths.R, tile.rows):
            for j in range(0, lengths.length, tile.columns):
                source, total, bias = frame + (i * lengths.line + j), zero(tile), biases[k]
                w, other = k, zero(tile)
                if tile.rows * tile.vectors < CHAINS and 2 * tile.rows * tile.vectors <= SUMS:
                    while w + K < windows:
                        total = add_scaled(total, values[w], source + entry(pixels, w), lengths.line)
                        other = add_scaled(other, values[w + K], source + entry(pixels, w + K), lengths.line)
                        bias = bias + values[w] + values[w + K]
                        w += 2 * K
                    total = add_tile(total, other)
                while w < windows:
                    total = add_scaled(total, values[w], source + entry(pixels, w), lengths.line)
                    bias = bias + values[w]
                    w += K
                if i + tile.rows >= lengths.R and j + tile.columns >= lengths.length:
                    biases[k] = bias
                place = block(tile, sums, tile.columns, tile.rows, tile.columns)
                store_tile(total if first else add_tile(total, load_tile(tile, place)), place)
                sums = sums + tile.rows * tile.columns


@jit
def add_share(tile, lengths, origins, steps, images, operands, buffers, thread, threads):
    """The parts that are this thread's; operands: gradient, positions, images, sums of weights and of biases."""
    frame = pointer(tile, buffers[0], thread * buffers[0].shape[1])
    origins, places_of = pointer(tile, origins, 0), pointer(tile, steps, 0)
    values = pointer(tile, buffers[1], thread * buffers[1].shape[1])
    pixels = pointer(tile, buffers[2], thread * buffers[2].shape[1])
    # Addresses before the loops: an array used in them would count its references, which two threads do by turns.
    grad, positions, x = pointer(tile, operands[0], 0), pointer(tile, operands[1], 0), pointer(tile, operands[2], 0)
    sums, biases = pointer(tile, operands[3], 0), pointer(tile, operands[4], 0)
    parts, size, width = operands[3].shape[0], operands[3].shape[1], operands[4].shape[1]
    extent, count = (lengths.rows, lengths.columns, lengths.channels), lengths.P * lengths.Q * lengths.K
    first_part, end_part = share(thread, threads, parts)
    for part in range(first_part, end_part):
        first, end = share(part, parts, images)
        clear(tile, biases + part * width, lengths.K)
        for n in range(first, end):
            image, windows = x + n * extent[0] * extent[1] * extent[2], n * count
            frame_band(tile, image, extent, -lengths.top, -lengths.left, lengths.height, lengths.width, frame)
            find_pixels(tile, count, origins, places_of, grad + windows, positions + windows, values, pixels)
            add_image(tile, lengths, frame, values, pixels, sums + part * size, biases + part * width, n == first)


@threaded
def add_all(tile, lengths, origins, steps, images, operands, buffers, threads):
    for thread in prange(threads):
        add_share(tile, lengths, origins, steps, images, operands, buffers, np.intp(thread), threads)


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
        self.origins = origins_of(self.lengths)
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
        self._add_all(self.tile, self.lengths, self.origins, self.steps, images, operands, self.buffers, self.threads)
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
