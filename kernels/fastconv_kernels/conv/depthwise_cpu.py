"""Depthwise convolution and its transpose: a window for each channel, so that lanes are channels and never meet (NHWC).

    out[p, q, k] = sum over r, s of x[p * stride + r - top, q * stride + s - left, k] * weight[r, s, k]

A tile is a few pixels of a row of outputs times one or two vectors of channels.  A row of taps stays in registers while it
slides over a row of the image: each pixel is loaded once and multiplied with every tap that it meets.  The image is taken a
block of channels at a time, through a ring of rows.  In the transpose other pixels meet, and nothing else differs.

Source: Zhang, Lo & Lu, "High Performance Depthwise and Pointwise Convolutions on Mobile Devices", 2020.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.places import block, columns
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry
from ..cpu.tile import Tile, add_tile, load_tile, pointer, rectify, spread_columns, store_tile
from ..cpu.window import Window, slide
from ..cpu.workspace import aligned, workspace
from .frame_cpu import flat, pack_panels
from .geometry import forward_axes, transposed_axes
from .ring_cpu import prefetch_pixels, ring_of, row_table, stage_rows

PIXELS = 8
"""The most pixels in a tile: with two vectors of each and a row of taps they fill the registers."""

MOST_TAPS = 24
"""In a row: they are written out in the code, and in the gradient of the weight their sums fill the registers."""


@inlined
def sum_rows(tile, window, total, column, pitches, meetings, first, end, weights):
    """total + the products of the rows of the ring with their rows of taps."""
    for i in range(first, end):
        row = weights + entry(meetings, 2 * i + 1) * window.taps * tile.columns
        total = slide(window, total, column + entry(meetings, 2 * i) * pitches[0], pitches[1], row)
    return total


@jit
def convolve_row(tile, window, ring, frame, meetings, steps, weights, extent, epilogue, target):
    """A block of channels of one row of outputs.

    frame: pointer to the first column in the ring; meetings: (table, from, to); steps: of the axis, (step, advance, taps of
    a window); extent: (first channel, last, all channels, pixels); weights, epilogue, target: at channel 0
    """
    table, first, end = meetings
    step, advance, taps = steps
    begin, last, channels, pixels = extent
    bias, residual, adds, rectifies = epilogue
    pitches = ring[3] * ring[5], ring[5]
    for q in range(0, pixels, tile.rows):
        place = target + q * channels
        if ring[7]:  # the row below
            prefetch_pixels(tile, place + (pixels * channels + begin), tile.rows, channels, last - begin)
        for k in range(begin, last, tile.columns):
            count = last - k
            total = spread_columns(tile, columns(tile, bias + k, count))
            column = frame + (q // step * advance * pitches[1] + k - begin)
            total = sum_rows(tile, window, total, column, pitches, table, first, end, weights + k * taps)
            if adds:
                other = block(tile, residual + (q * channels + k), channels, pixels - q, count)
                total = add_tile(total, load_tile(tile, other))
            if rectifies:
                total = rectify(total)
            if pixels - q >= tile.rows and count >= tile.columns:  # stores without masks
                store_tile(total, block(tile, place + k, channels, tile.rows, tile.columns))
            else:
                store_tile(total, block(tile, place + k, channels, pixels - q, count))


@jit
def convolve_share(tile, window, tables, ring, extents, steps, operands, flags, frames, thread, threads):
    """The bands of rows and blocks of channels that are this thread's."""
    x, packed, bias, residual, out = operands
    images, bands, source_rows, source_columns, target_rows, target_columns, channels = extents
    reach, last_reach = ring[1:3]
    left, width, blocks = ring[4:7]
    weights, starts = pointer(tile, packed, 0), pointer(tile, bias, 0)
    begins, meetings = pointer(tile, tables[0], 0), pointer(tile, tables[1], 0)
    frame = pointer(tile, frames, thread * frames.shape[1])
    first_task, end_task = share(thread, threads, images * bands * blocks)
    for task in range(first_task, end_task):
        n, band, channel = task // (bands * blocks), task // blocks % bands, task % blocks * width
        last = min(channel + width, channels)
        image = pointer(tile, x, n * source_rows * source_columns * channels + channel)
        first, end = share(band, bands, target_rows)
        staged = max(0, first // steps[0] * steps[1] + reach)
        for p in range(first, end):
            needed = min(source_rows, p // steps[0] * steps[1] + last_reach + 1)
            stage_rows(tile, ring, image, (source_columns, channels), last - channel, staged, needed, frame)
            staged = max(staged, needed)
            origin = (n * target_rows + p) * target_columns * channels
            convolve_row(
                tile,
                window,
                ring,
                frame + left * width,
                (meetings, entry(begins, p), entry(begins, p + 1)),
                steps[2:],
                weights,
                (channel, last, channels, target_columns),
                (starts, pointer(tile, residual, origin), flags[0], flags[1]),
                pointer(tile, out, origin),
            )


@threaded
def convolve(tile, window, tables, ring, extents, steps, operands, flags, frames, threads):
    for thread in prange(threads):
        convolve_share(tile, window, tables, ring, extents, steps, operands, flags, frames, np.intp(thread), threads)


class _Depthwise:
    """What the plans of both directions share.  One call at a time.

    axes: (vertical, horizontal); source, target: (rows, columns) of the images that are read and written.
    """

    def __init__(self, problem, threads, axes, source, target, tile):
        self.problem = problem
        vertical, horizontal = axes
        self.tile = tile or tile_for(horizontal, problem)
        self.window = Window(horizontal, self.tile.rows)
        self.panels = -(-problem.K // self.tile.columns)
        last_tile = (target[1] - 1) // self.tile.rows * self.tile.rows // horizontal.step * horizontal.advance
        columns = self.window.first, last_tile + self.window.last
        self.ring = ring_of(vertical, horizontal, columns, problem.K, self.tile, problem.bytes)
        self.tables = row_table(vertical, self.ring.rows)
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        tasks = problem.N * self.ring.blocks
        bands = 1 if threads == 1 or tasks % threads == 0 else min(target[0], 4 * threads)
        self.threads = max(1, min(threads, tasks * bands))
        self.extents = problem.N, bands, *source, *target, problem.K
        self.steps = vertical.step, vertical.advance, horizontal.step, horizontal.advance, problem.R * problem.S
        self.frames = workspace(self.threads, self.ring.size, problem.dtype)
        self.no_bias = np.zeros(problem.K, problem.dtype)
        self.workspace_bytes = self.frames.nbytes

    def pack(self, weight, packed=None):
        """Panels of the weight (R, S, 1, K), of any strides."""
        problem = self.problem
        if packed is None:
            packed = aligned(problem.R * problem.S * self.panels * self.tile.columns, weight.dtype)
        line, (down, right, _, column) = flat(weight)
        taps = np.array(list(np.ndindex(problem.R, problem.S)))
        pack_panels(self.tile, line, (down, right, 0, column, 0), taps, 1, problem.K, 1, packed, 0)
        return packed

    def _run(self, x, packed, bias, residual, activation, out):
        operands = (
            x.reshape(-1),
            packed,
            self.no_bias if bias is None else bias,
            (out if residual is None else residual).reshape(-1),
            out.reshape(-1),
        )
        flags = residual is not None, activation == "relu"
        ring, shapes = tuple(self.ring), (self.extents, self.steps)
        convolve(self.tile, self.window, self.tables, ring, *shapes, operands, flags, self.frames, self.threads)
        return out


class Forward(_Depthwise):
    """A plan for the convolution of NHWC images of one shape."""

    def __init__(self, problem, threads=1, tile=None):
        super().__init__(problem, threads, forward_axes(problem), (problem.H, problem.W), (problem.P, problem.Q), tile)

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        """Write activation(conv(x, weight) + bias + residual) into ``out``.

        Parameters
        ----------
        x : (N, H, W, C), C-contiguous
        packed : what ``pack`` returned
        out, residual : (N, P, Q, C), C-contiguous
        bias : (C,)
        activation : None or "relu"
        """
        return self._run(x, packed, bias, residual, activation, out)


class BackwardInput(_Depthwise):
    """A plan for the gradient with respect to the input: the transpose, from (N, P, Q, C) to (N, H, W, C)."""

    def __init__(self, problem, threads=1, tile=None):
        super().__init__(problem, threads, transposed_axes(problem), (problem.P, problem.Q), (problem.H, problem.W), tile)

    def __call__(self, grad_output, packed, out):
        """Write the gradient (N, H, W, C) for the gradient (N, P, Q, C) of the output into ``out``; all C-contiguous."""
        return self._run(grad_output, packed, None, None, None, out)


def tile_for(horizontal, problem):
    """The tile that computes the fewest pixels beyond the end of a row; a multiple of ``step`` pixels."""
    lanes = Tile(1, 1, problem.dtype).lanes
    vectors = 2 if lanes < problem.K and Tile(PIXELS, 2, problem.dtype).fits() else 1
    heights = range(horizontal.step, PIXELS + 1, horizontal.step)
    rows = min(heights, key=lambda rows: (-(-horizontal.target // rows) * rows, -rows))
    return Tile(rows, vectors, problem.dtype)


def refuses(problem):
    """Why this kernel cannot compute ``problem``."""
    against = []
    if not problem.groups == problem.C == problem.K:
        against.append("it takes one channel in and one out for each group alone")
    if problem.stride[1] > PIXELS or problem.S > MOST_TAPS:
        against.append(f"it takes strides up to {PIXELS} and windows up to {MOST_TAPS} wide")
    return tuple(against)
