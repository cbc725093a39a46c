"""The gradient of the input from the pixels that were maxima alone: a quarter of the multiplications (NHWC).

    grad_x[pixel(w, k) + (r, s, c)] += grad[w, k] * weight[k, r, (s, c)]

for every window w and channel k, where ``pixel(w, k)`` is the one that forward found: ``pooled_windows`` says why a channel
is taken by itself.  The channels of a window that share a pixel, or one of two in a column, are found as the bits of a number,
and their sum is added to the image, in its frame, once.

Source: the sparsity of these gradients is folklore; Parashar et al., "SCNN: An Accelerator for Compressed-sparse Convolutional
Neural Networks", 2017, multiply nothing but what is not zero.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, of_one_kind, serial, threaded
from ..cpu.places import block
from ..cpu.pooled import lowest, received_by
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry, register_bytes
from ..cpu.tile import Tile, load_tile, pointer, store_tile
from ..cpu.tile_rows import add_either, add_scaled
from ..cpu.workspace import aligned, caches, workspace
from ..problems.pooled import WINDOW
from .frame_cpu import clear, copy
from .pooled_windows import SUMS, fills_too_little, geometry, pieces_of, tile_of

CHANNELS = 64
"""Channels whose pixels are found at a time: a bit for each."""

PIECE_SHARE = 0.8
"""Of the first cache, for the weights of a piece; an image in its frame passes by."""

STEPS, WINDOW_STEPS = 2, 120
"""What a channel of a window costs beside its multiply-adds, in vectors, and what all of a window's together."""


FEW = 20
"""Channels of which two places are worth a row more: 16 took 0.81 to 0.85 of the time, 24 1.01, 32 1.04."""


@inlined
def add_selected(tile, taller, total, channels, lower, grad, weights):
    """total + grad[k] * weights[k] for each bit k of ``channels``, a row further down for those that are ``lower`` too."""
    while channels:
        k = lowest(channels)
        own = weights + k * (tile.rows * tile.columns)
        if taller.rows > tile.rows:
            total = add_either(total, grad[k], (lower >> k) & 1, own, tile.columns)
        else:
            total = add_scaled(total, grad[k], own, tile.columns)
        channels &= channels - 1
    return total


@jit
def scatter_image(tile, taller, lengths, steps, grad, places, packed, frame):
    """frame[pixel + (r, s, c)] += the gradients of an image times their weights; all but the lengths are pointers.

    Of a ``taller`` tile the sums are those of two places, one below the other.
    """
    P, Q, K, more = lengths.P, lengths.Q, lengths.K, taller.rows - tile.rows
    for k in range(0, K, CHANNELS):
        count = min(CHANNELS, K - k)
        for i in range(0, lengths.R, tile.rows):
            for j in range(0, lengths.length, tile.columns):
                for p in range(P):
                    pixel = frame + (i * lengths.line + j + p * lengths.down)
                    for w in range(p * Q * K + k, (p + 1) * Q * K, K):
                        for n in range(WINDOW if more else WINDOW * WINDOW):
                            lower = received_by(places + w, n + WINDOW, count) if more else 0
                            channels = received_by(places + w, n, count) | lower
                            if channels:
                                height, width = taller.rows if more else lengths.R - i, lengths.length - j
                                place = block(taller, pixel + entry(steps, n), lengths.line, height, width)
                                total = load_tile(taller, place)
                                store_tile(add_selected(tile, taller, total, channels, lower, grad + w, packed), place)
                        pixel = pixel + lengths.across
                packed = packed + count * tile.rows * tile.columns


@jit
def scatter_share(tile, taller, lengths, steps, images, operands, frames, thread, threads):
    """The images that are this thread's; operands: gradient, positions, packed weights, gradient of the input."""
    frame, places_of = pointer(tile, frames, thread * frames.shape[1]), pointer(tile, steps, 0)
    # Addresses before the loops: an array used in them would count its references, which two threads do by turns.
    grad, positions, packed = pointer(tile, operands[0], 0), pointer(tile, operands[1], 0), pointer(tile, operands[2], 0)
    out = pointer(tile, operands[3], 0)
    pitch, line = lengths.width * lengths.channels, lengths.columns * lengths.channels
    first, end = share(thread, threads, images)
    for n in range(first, end):
        windows, image = n * lengths.P * lengths.Q * lengths.K, out + n * lengths.rows * line
        clear(tile, frame, lengths.height * pitch)
        scatter_image(tile, taller, lengths, places_of, grad + windows, positions + windows, packed, frame)
        inside = frame + (lengths.top * pitch + lengths.left * lengths.channels)
        for y in range(lengths.rows):
            copy(tile, inside + y * pitch, image + y * line, line)


@threaded
def scatter(tile, taller, lengths, steps, images, operands, frames, threads):
    for thread in prange(threads):
        scatter_share(tile, taller, lengths, steps, images, operands, frames, np.intp(thread), threads)


@serial
def pack_weights(tile, lengths, weight, packed):
    """packed[block of channels, piece, k, row, column] = weight[r, (s, c), k]."""
    down, across, target = tile.rows, tile.columns, 0
    for first in range(0, lengths.K, CHANNELS):
        for i in range(0, lengths.R, down):
            for j in range(0, lengths.length, across):
                for k in range(first, min(first + CHANNELS, lengths.K)):
                    for r in range(i, min(i + down, lengths.R)):
                        for e in range(j, min(j + across, lengths.length)):
                            packed[target + (r - i) * across + e - j] = weight[r, e, k]
                    target += down * across


def taller(problem, lengths, tile):
    """The tile of the sums: a row higher where two places, one below the other, are better added up together.

    Half as often are sums fetched and stored, and is a number of channels met that no processor foresees; but every channel
    multiplies a row more.  On a Granite Rapids LeNet-5's second layer took 230 µs for 295.
    """
    higher = Tile(tile.rows + 1, tile.vectors, problem.dtype, tile.lanes)
    pays = lengths.down == WINDOW * lengths.line and lengths.R % tile.rows == 0 and lengths.K <= FEW
    return higher if pays and higher.rows * higher.vectors <= SUMS else tile


class BackwardInput:
    """A plan for the gradient of the input (N, H, W, C) from that of the maxima.  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        self.lengths, self.steps = geometry(problem)
        most = caches().level1 * PIECE_SHARE // (min(CHANNELS, problem.K) * register_bytes())
        self.tile = tile or tile_of(self.lengths, problem.dtype, max(1, min(SUMS, int(most))))
        self.taller = taller(problem, self.lengths, self.tile)
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), problem.N))
        self.frames = workspace(self.threads, self.lengths.frame, problem.dtype)
        self.workspace_bytes = self.frames.nbytes
        self._scatter, self._pack = of_one_kind(scatter), of_one_kind(pack_weights)

    def pack(self, weight, packed=None):
        """The pieces of the weight (R, S, C, K), of any strides."""
        if packed is None:
            size = self.lengths.K * pieces_of(self.lengths, self.tile) * self.tile.rows * self.tile.columns
            packed = aligned(size, self.problem.dtype)
        rows = np.ascontiguousarray(weight).reshape(self.lengths.R, -1, self.lengths.K)
        self._pack(self.tile, self.lengths, rows, packed)
        return packed

    def __call__(self, grad, positions, packed, out):
        """Write the gradient of x's shape into ``out``, for those of the maxima and their positions; all C-contiguous."""
        operands = grad.reshape(-1), positions.reshape(-1), packed, out.reshape(-1)
        self._scatter(self.tile, self.taller, self.lengths, self.steps, self.problem.N, operands, self.frames, self.threads)
        return out


def declines(problem):
    """Why another kernel should compute ``problem``.

    Against spreading the gradient and Winograd: 0.7 of their time with images of 14 x 14 x 32 (32 KB in their frame, the first
    cache has 48), 0.6 with 32 x 32 x 16 (72 KB), 1.0 with 14 x 14 x 128 and 28 x 28 x 64 (130 KB and more).
    """
    return fills_too_little(problem, 2, STEPS + WINDOW_STEPS / min(CHANNELS, problem.K), 1.5)
