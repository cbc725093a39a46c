"""Depthwise convolution, the gradient of the weight: rows of pixels times rows of gradients, channel by channel (NHWC).

    grad_weight[r, s, k] = sum over images, p, q of x[p * stride + r - top, q * stride + s - left, k] * grad_output[p, q, k]

The sums of a row of taps stay in registers along a row of gradients; a pixel is loaded once for all the taps that it meets.
The image passes through a ring of rows, as in the forward direction.  The images are divided into *parts* whose sums are kept
apart and added in order at the end: how many there are depends on the problem alone, so that any number of threads gives the
same bits.

Source: Zhang, Lo & Lu, "High Performance Depthwise and Pointwise Convolutions on Mobile Devices", 2020.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.places import block
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry
from ..cpu.sums import add_parts
from ..cpu.tile import Tile, add_tile, fold, load_tile, pointer, store_tile, zero
from ..cpu.window import Window, slide_gradient
from ..cpu.workspace import workspace
from .frame_cpu import clear
from .geometry import forward_axes
from .ring_cpu import prefetch_pixels, ring_of, row_table, stage_rows

PIXELS = 7
"""The most pixels in a tile: the widths of common maps are multiples of 7, and of a row that is none the rest goes singly."""

CHAINS = 8
"""Sums under way at a time that keep the multipliers busy."""

PARTS = 16
"""The most pieces of work that do not share sums: as many as there are threads to use them on common machines."""


@inlined
def sum_row(chains, window, one, column, pixel, advance, gradient, channels, pixels, count):
    """The sums of one row of taps along a row of ``pixels`` gradients."""
    total = zero(chains)
    whole = pixels // window.pixels * window.pixels
    for q in range(0, whole, window.pixels):
        source = column + q * advance * pixel
        total = slide_gradient(window, total, source, pixel, gradient + q * channels, channels, count)
    for q in range(whole, pixels):
        source = column + q * advance * pixel
        total = slide_gradient(one, total, source, pixel, gradient + q * channels, channels, count)
    return total


@jit
def add_row(tile, chains, window, one, ring, frame, meetings, advance, gradient, extent, sums):
    """Add to ``sums`` what one row of gradients gives for a block of channels.

    frame: pointer to the first column in the ring; meetings: (table, from, to); extent: (first channel, last, all channels,
    pixels); gradient, sums: at channel 0
    """
    table, first, end = meetings
    begin, last, channels, pixels = extent
    line, pixel = ring[3] * ring[5], ring[5]
    for k in range(begin, last, tile.columns):
        count = last - k
        for i in range(first, end):
            column = frame + (entry(table, 2 * i) * line + k - begin)
            total = sum_row(chains, window, one, column, pixel, advance, gradient + k, channels, pixels, count)
            target = sums + (entry(table, 2 * i + 1) * tile.rows * channels + k)
            place = block(tile, target, channels, tile.rows, count)
            store_tile(add_tile(fold(tile, total), load_tile(tile, place)), place)


@jit
def add_share(tile, chains, window, one, tables, ring, extents, steps, operands, frames, thread, threads):
    """The parts and blocks of channels that are this thread's."""
    grad_output, x, sums = operands
    parts, images, bands, source_rows, source_columns, target_rows, target_columns, channels = extents
    reach, last_reach = ring[1:3]
    left, width, blocks, ahead = ring[4:8]
    advance, across_advance, taps = steps
    begins, meetings = pointer(tile, tables[0], 0), pointer(tile, tables[1], 0)
    frame = pointer(tile, frames, thread * frames.shape[1])
    first_task, end_task = share(thread, threads, parts * blocks)
    for task in range(first_task, end_task):
        part, channel = task // blocks, task % blocks * width
        last = min(channel + width, channels)
        total = pointer(tile, sums, part * taps * channels)
        for tap in range(taps):
            clear(tile, total + (tap * channels + channel), last - channel)
        first_piece, end_piece = share(part, parts, images * bands)
        for piece in range(first_piece, end_piece):
            n, (first, end) = piece // bands, share(piece % bands, bands, target_rows)
            image = pointer(tile, x, n * source_rows * source_columns * channels + channel)
            staged = max(0, first * advance + reach)
            for p in range(first, end):
                needed = min(source_rows, p * advance + last_reach + 1)
                stage_rows(tile, ring, image, (source_columns, channels), last - channel, staged, needed, frame)
                staged = max(staged, needed)
                gradient = pointer(tile, grad_output, (n * target_rows + p) * target_columns * channels)
                if ahead:
                    below = gradient + (target_columns * channels + channel)
                    prefetch_pixels(tile, below, target_columns, channels, last - channel)
                add_row(
                    tile,
                    chains,
                    window,
                    one,
                    ring,
                    frame + left * width,
                    (meetings, entry(begins, p), entry(begins, p + 1)),
                    across_advance,
                    gradient,
                    (channel, last, channels, target_columns),
                    total,
                )


@threaded
def add_all(tile, chains, window, one, tables, ring, extents, steps, operands, frames, threads):
    for thread in prange(threads):
        add_share(tile, chains, window, one, tables, ring, extents, steps, operands, frames, np.intp(thread), threads)


class BackwardWeight:
    """A plan for the gradient with respect to the weight (R, S, 1, C).  One call at a time."""

    def __init__(self, problem, threads=1):
        self.problem = problem
        vertical, horizontal = forward_axes(problem)
        lanes = Tile(1, 1, problem.dtype).lanes
        vectors = 2 if lanes < problem.K and problem.S <= CHAINS and Tile(problem.S, 2, problem.dtype).fits() else 1
        self.tile = Tile(problem.S, vectors, problem.dtype)
        self.chains = Tile(problem.S * -(-CHAINS // (problem.S * vectors)), vectors, problem.dtype)
        self.windows = Window(horizontal, min(PIXELS, problem.Q)), Window(horizontal, 1)
        columns = self.windows[1].first, (problem.Q - 1) * horizontal.advance + self.windows[1].last
        self.ring = ring_of(vertical, horizontal, columns, problem.K, self.tile, problem.bytes)
        self.tables = row_table(vertical, self.ring.rows)
        bands = min(problem.P, -(-PARTS // max(1, problem.N * self.ring.blocks)))
        self.parts = max(1, min(problem.N * bands, -(-PARTS // self.ring.blocks)))
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        self.threads = max(1, min(threads, self.parts * self.ring.blocks))
        self.extents = self.parts, problem.N, bands, problem.H, problem.W, problem.P, problem.Q, problem.K
        self.steps = vertical.advance, horizontal.advance, problem.R * problem.S
        self.frames = workspace(self.threads, self.ring.size, problem.dtype)
        self.sums = np.zeros((self.parts if self.parts > 1 else 0, problem.R * problem.S * problem.K), problem.dtype)
        self.workspace_bytes = self.frames.nbytes + self.sums.nbytes

    def __call__(self, grad_output, x, out):
        """Write the gradient (R, S, 1, C) into ``out``, for grad_output (N, P, Q, C) and x (N, H, W, C)."""
        sums = self.sums if self.parts > 1 else out
        operands = grad_output.reshape(-1), x.reshape(-1), sums.reshape(-1)
        shapes = tuple(self.ring), self.extents, self.steps
        add_all(self.tile, self.chains, *self.windows, self.tables, *shapes, operands, self.frames, self.threads)
        if self.parts > 1:
            add_parts(self.sums, out.reshape(-1))
        return out
