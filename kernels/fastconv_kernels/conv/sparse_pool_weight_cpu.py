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
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry
from ..cpu.sums import add_parts
from ..cpu.tile import Tile, add_tile, load_tile, pointer, store_tile, zero
from ..cpu.tile_rows import add_scaled
from ..cpu.workspace import aligned, workspace
from . import patch_pool_weight_cpu
from .frame_cpu import clear, frame_band
from .pooled_rows_cpu import find_pixels, laid_out, lay_out
from .pooled_windows import SUMS, fills_too_little, geometry, origins_of, pieces_of, tile_of

PARTS = 16
"""The most parts: as many as there are threads to use them on common machines."""

PARTS_BYTES = 2 * 1024 * 1024
"""The most memory for the sums of all parts: they must stay in the caches."""

CHAINS = 8
"""Sums with fewer vectors wait for each other: two multipliers take four cycles.  LeNet-5's first layer 185 µs for 205."""

STEPS = 6
"""What a channel of a window costs beside its multiply-adds, in vectors."""

PICKED, PICK_STEPS = 2, 1
"""What a vector costs that is picked from registers, and a channel of a window beside, in the same measure."""


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
                        bias = bias + (values[w] + values[w + K])
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
def add_share(tile, lengths, tables, images, operands, buffers, thread, threads):
    """The parts that are this thread's.

    tables: origins, steps; operands: gradient, positions, images, sums of weights and of biases.
    """
    frame = pointer(tile, buffers[0], thread * buffers[0].shape[1])
    origins, places_of = pointer(tile, tables[0], 0), pointer(tile, tables[1], 0)
    values = pointer(tile, buffers[1], thread * buffers[1].shape[1])
    pixels = pointer(tile, buffers[2], thread * buffers[2].shape[1])
    rows = pointer(tile, buffers[3], thread * buffers[3].shape[1]) if lengths.wide > 0 else frame
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
            if lengths.wide > 0:
                lay_out(tile, lengths, frame, rows)
            find_pixels(tile, count, origins, places_of, grad + windows, positions + windows, values, pixels)
            add_image(tile, lengths, rows, values, pixels, sums + part * size, biases + part * width, n == first)


@threaded
def add_all(tile, lengths, tables, images, operands, buffers, threads):
    for thread in prange(threads):
        add_share(tile, lengths, tables, images, operands, buffers, np.intp(thread), threads)


@serial
def write_weight(taps, K, sums, out):
    """out[tap, k] = sums[k, taps[tap]]."""
    size = sums.size // K
    for tap in range(taps.size):
        for k in range(K):
            out[tap * K + k] = sums[k * size + taps[tap]]


def taps_of(lengths, tile):
    """(taps,) where in the sums of a channel each is."""
    down, across = tile.rows, tile.columns
    pieces = -(-lengths.length // across)
    places = [
        ((r // down * pieces + e // across) * down + r % down) * across + e % across
        for r, e in np.ndindex(lengths.R, lengths.length)
    ]
    return np.array(places)


class BackwardWeight:
    """A plan for the gradients of the weight (R, S, C, K) and of the bias.  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        self.lengths, steps = geometry(problem)
        picking = None if tile else patch_pool_weight_cpu.tile_of(problem, self.lengths)
        if picking is not None:
            self.tile, loop, size = picking, patch_pool_weight_cpu.add_all, picking.columns
            room = patch_pool_weight_cpu.room_of(problem, self.lengths, self.tile)
            self.tables = patch_pool_weight_cpu.tables_of(problem, self.lengths, self.tile)
            self.taps = patch_pool_weight_cpu.taps_of(problem, self.tile)
        else:
            self.tile, loop = tile or tile_of(self.lengths, problem.dtype, SUMS), add_all
            size = pieces_of(self.lengths, self.tile) * self.tile.rows * self.tile.columns
            spare = self.tile.rows * self.lengths.line + self.tile.columns  # a tile may reach beyond the last row and column
            frame, windows = self.lengths.frame + spare, self.lengths.windows
            self.lengths, steps = laid_out(problem, self.lengths, self.tile) or (self.lengths, steps)
            room = [
                (frame, problem.dtype),
                (windows, problem.dtype),
                (windows, np.int32),
                (self.lengths.laid_out, problem.dtype),
            ]
            self.tables, self.taps = (origins_of(self.lengths), steps), taps_of(self.lengths, self.tile)
        weights = self.weights = problem.K * size
        parts = max(1, min(problem.N, PARTS, PARTS_BYTES // (weights * self.tile.itemsize)))
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), parts))
        self.buffers = tuple(workspace(self.threads, length, dtype) for length, dtype in room)
        self.sums, self.biases = workspace(parts, weights, problem.dtype), workspace(parts, problem.K, problem.dtype)
        self.total = aligned(self.sums.shape[1], problem.dtype)
        self.workspace_bytes = sum(array.nbytes for array in (*self.buffers, self.sums, self.biases, self.total))
        self._add_all, self._write_weight = of_one_kind(loop), of_one_kind(write_weight)

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
        self._add_all(self.tile, self.lengths, self.tables, images, operands, self.buffers, self.threads)
        add_parts(self.sums, self.total, self.threads)
        self._write_weight(self.taps, self.problem.K, self.total[: self.weights], out.reshape(-1))
        if grad_bias is not None:
            add_parts(self.biases[:, : self.problem.K], grad_bias, self.threads)
        return out


def declines(problem):
    """Why another kernel should compute ``problem``.

    Against Winograd: 0.8 of its time, and no gradient to spread, with images of 14 x 14 x 32 (32 KB in their frame, the first
    cache has 48), 1.1 with 32 x 32 x 16, 1.8 with 28 x 28 x 64.  Where pixels are picked from registers, against the implicit
    matrix product with images of 28 x 28 x 1: windows of 5 x 5 and 10, 16 and 32 channels 0.42, 0.73 and 0.88; of 3 x 3 and 6,
    8, 16 and 32 channels 0.50, 0.60, 1.11 and 1.41 of its time.
    """
    lanes = Tile(1, 1, problem.dtype).lanes
    dense, picking = -(-problem.K // lanes) * lanes / problem.K, patch_pool_weight_cpu.tile_of(problem, geometry(problem)[0])
    if picking is not None:
        return fills_too_little(problem, 1, PICK_STEPS, dense, PICKED * picking.vectors)
    return fills_too_little(problem, 1, STEPS, dense)
