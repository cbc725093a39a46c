"""The gradient of the weight from the pixels that were maxima alone, of windows that are small enough for registers (NHWC).

The pixels that the four places of a pooling window multiply, rows of at most half a vector, are loaded once, two rows to a
register, and four rows to two neighbours.  Each channel then picks the taps of its own maximum by a permutation of two
registers: no pixel is loaded for a channel, and the taps of three rows share a vector, where ``sparse_pool_weight_cpu``, which
uses this, loads one for each row.  On a Granite Rapids LeNet-5's first layer took 180 µs so for 250.
"""

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.places import block
from ..cpu.pooled import add_picked, load_fours
from ..cpu.share import share
from ..cpu.simd import load_first, register_bytes, store_first
from ..cpu.tile import Tile, load_tile, pointer, store_tile, zero
from ..problems.pooled import WINDOW
from .frame_cpu import clear, frame_band
from .pooled_rows_cpu import find_pixels

TAP_ROWS = 3
"""Rows of taps in a vector: with those beside them they are in two registers of two rows each."""

SUMS, FEWEST = 20, 4
"""The most vectors of sums, and the fewest channels that go through the windows together."""


def tile_of(problem, lengths):
    """The tile of (channels, vectors of their taps); None: it cannot be done so here."""
    conv, lanes = problem.conv, Tile(1, 1, problem.dtype).lanes
    vectors = -(-conv.R // TAP_ROWS)
    fits = TAP_ROWS * lengths.length <= lanes and lanes // 2 >= (conv.S + 1) * conv.C and conv.R <= 5
    if problem.dtype != "float32" or register_bytes() < 64 or not fits or (*conv.stride, conv.dilation[0]) != (1, 1, 1):
        return None
    channels = max(rows for rows in range(1, min(SUMS // vectors, lanes) + 1) if problem.K % rows == 0)
    return Tile(channels, vectors, problem.dtype) if channels >= min(problem.K, FEWEST) else None


def room_of(problem, lengths, tile):
    """The (elements, dtype) of each thread's buffers."""
    spare = 2 * lengths.line + tile.lanes  # four rows may reach beyond the last
    return [(lengths.frame + spare, problem.dtype), (lengths.windows, problem.dtype), (lengths.windows, np.int32)]


def tables_of(problem, lengths, tile):
    """The loop's: (zeros, by how many lanes each place is further on, the lanes of three rows of taps)."""
    half, channels = tile.lanes // 2, problem.conv.C
    steps = np.array([i * half + j * channels for i in range(WINDOW) for j in range(WINDOW)])
    lanes = np.zeros(tile.lanes, np.int32)
    lanes[: TAP_ROWS * lengths.length] = np.add.outer(np.arange(TAP_ROWS) * half, np.arange(lengths.length)).reshape(-1)
    return np.zeros(lengths.windows, np.int32), steps, lanes


def taps_of(problem, tile):
    """(taps,) where in the sums of a channel each is."""
    conv = problem.conv
    return np.array(
        [r // TAP_ROWS * tile.lanes + r % TAP_ROWS * conv.S * conv.C + e for r, e in np.ndindex(conv.R, conv.S * conv.C)]
    )


@jit
def add_image(tile, lengths, frame, values, shifts, lanes, sums, biases, first):
    """sums[k] (+)= the sum over the windows of an image, biases[k] += that of their gradients; all pointers."""
    K, Q = lengths.K, lengths.Q
    for k in range(0, K, tile.rows):
        place = block(tile, sums + k * tile.columns, tile.columns, tile.rows, tile.columns)
        total, bias = zero(tile) if first else load_tile(tile, place), load_first(biases + k, tile.rows)
        for p in range(lengths.P):
            pixels = frame + p * lengths.down
            for w in range(p * Q * K + k, (p + 1) * Q * K + k, K):
                bias = bias + load_first(values + w, tile.rows)
                total = add_picked(total, values + w, shifts + w, lanes, load_fours(tile, pixels, lengths.line))
                pixels = pixels + lengths.across
        store_tile(total, place)
        store_first(biases + k, bias, tile.rows)


@jit
def add_share(tile, lengths, tables, images, operands, buffers, thread, threads):
    """The parts that are this thread's; operands: gradient, positions, images, sums of weights and of biases."""
    frame, values = (
        pointer(tile, buffers[0], thread * buffers[0].shape[1]),
        pointer(tile, buffers[1], thread * buffers[1].shape[1]),
    )
    shifts, zeros = pointer(tile, buffers[2], thread * buffers[2].shape[1]), pointer(tile, tables[0], 0)
    steps, lanes = pointer(tile, tables[1], 0), pointer(tile, tables[2], 0)
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
            find_pixels(tile, count, zeros, steps, grad + windows, positions + windows, values, shifts)
            add_image(tile, lengths, frame, values, shifts, lanes, sums + part * size, biases + part * width, n == first)


@threaded
def add_all(tile, lengths, tables, images, operands, buffers, threads):
    for thread in prange(threads):
        add_share(tile, lengths, tables, images, operands, buffers, np.intp(thread), threads)
