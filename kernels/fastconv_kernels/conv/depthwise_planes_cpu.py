"""Depthwise convolution and its transpose on planes: a window for each plane, lanes over the pixels of a row (NCHW).

    out[k, p, q] = sum over r, s of x[k, p * stride + r - top, q * stride + s - left] * weight[k, r, s]

The window rolls down a plane, one vector's width after another (``cpu/rolling``): a row of the image is loaded once for every
column of taps, and added to all rows of outputs that it meets.  Planes are read where they are, without a frame: masks leave
out the columns that do not exist.  Planes larger than the nearest cache are cut into bands of rows, and with each row of
outputs some of what comes a band or a plane later is asked for: planes lie one after another, so that all memory is read in
order, as it is written.  In the transpose other pixels meet, and nothing else differs.

Source: Zhang, Lo & Lu, "High Performance Depthwise and Pointwise Convolutions on Mobile Devices", 2020.
"""

from math import ceil, prod

import numpy as np
from numba import prange

from ..cpu.compile import alone, jit, threaded
from ..cpu.rolling import Roll, begin, finished, following, load_group, masks_at, slide, store_group
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import prefetch
from ..cpu.tile import Tile, add_tile, pointer, rectify, spread_rows
from ..cpu.workspace import aligned, caches
from .geometry import forward_axes, transposed_axes

BAND_SHARE = 0.3
"""Of the first cache: a band of rows, or small planes together, where the window rolls down one vector's width after another.

As far from what is computed is what is asked for.  Measured, MobileNet's layers with 16 images, both directions: 0.2 and 0.4
take 1.0 times as long, 0.1 1.2 times, 0.8 1.1 times, and not to ask at all, of planes from 56 x 56 on, three to five times.
Outputs written past the caches, whole lines at once or a band together, take 1.0 to 1.5 times as long.
"""

MOST_STRIDE = 4
"""Beyond, nearly all that is loaded is not used, or nearly all registers are phases."""

MOST_TAPS = 49
"""Products of all taps are written out in the code."""


@alone
def convolve_columns(tile, window, roll, places, masks, extents, rows, count, flags, ahead, pieces):
    """One vector's width of each of ``count`` planes, groups of rows from the first of ``rows`` to the last.

    places: (source, zeros, target, addend, weights, bias), at row 0 and this tile's column 0 of the first plane
    extents: (rows, columns) of the source, then of the target
    ahead: (source, target) that are asked for meanwhile; pieces: elements of each with a group
    """
    source, zeros, target, addend, weights, bias = places
    height, width, target_rows, columns = extents
    (asked, written), own = ahead, masks_at(roll, masks)
    for c in range(count):
        taps, start = spread_rows(window, weights + c * window.rows), bias[c]
        y, p = rows[0] * roll.advance, rows[0] * roll.step
        image, place = source + (c * height + y) * width, (c * target_rows + p) * columns
        end = (c * target_rows + rows[1] * roll.step) * columns
        sums = begin(roll, taps, start, image, width, zeros, -y, height - y, own)
        while place < end:  # not so many turns, which the compiler would write out until sums are put aside
            sums = slide(roll, sums, taps, image, width, zeros, -y, height - y, own)
            total = finished(roll, sums)
            if flags[0]:
                total = add_tile(total, load_group(roll, total, addend + place, columns, target_rows - p, own))
            if flags[1]:
                total = rectify(total)
            store_group(roll, total, target + place, columns, target_rows - p, own)
            sums = following(roll, sums, start)
            for j in range(roll.read):
                prefetch(asked + j * tile.lanes)
            for j in range(roll.written):
                prefetch(written + j * tile.lanes)
            asked, written = asked + pieces[0], written + pieces[1]
            y, p, image, place = y + roll.advance, p + roll.step, image + roll.advance * width, place + roll.step * columns


@jit
def convolve_planes(tile, window, roll, places, table, extents, count, band, flags, ahead):
    """``count`` planes; band: groups of rows in which the window rolls down one tile; table: masks of the tiles of a row."""
    source, zeros, target, addend, weights, bias = places
    _, width, target_rows, columns = extents
    groups = (target_rows + roll.step - 1) // roll.step
    for top in range(0, groups, band):
        first, place = source + (top * roll.advance * width + ahead[0]), target + (top * roll.step * columns + ahead[1])
        for q in range(0, columns, tile.columns):
            number, column = q // tile.columns, q // roll.phases * roll.across
            near, before = (source + column, zeros + column, target + q, addend + q, weights, bias), number * count * band
            asked = first + before * ahead[2], place + before * ahead[3]
            masks, rows = table + number * roll.masks, (top, min(top + band, groups))
            convolve_columns(tile, window, roll, near, masks, extents, rows, count, flags, asked, ahead[2:])


@jit
def convolve_share(tile, window, roll, masks, shape, extents, operands, band, flags, ahead, thread, threads):
    """The blocks of planes that are this thread's; shape: (images, channels, blocks of them); flags: (adds, rectifies)."""
    images, channels, blocks = shape
    x, packed, bias, residual, out, zeros = operands
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    source, target, table = pointer(tile, x, 0), pointer(tile, out, 0), pointer(tile, masks, 0)
    weights, biases, addend = pointer(tile, packed, 0), pointer(tile, bias, 0), pointer(tile, residual, 0)
    row = pointer(tile, zeros, 0)
    size, result = extents[0] * extents[1], extents[2] * extents[3]
    first, end = share(thread, threads, images * blocks)
    for task in range(first, end):
        n, (channel, until) = task // blocks, share(task % blocks, blocks, channels)
        plane = n * channels + channel
        places = (
            source + plane * size,
            row,
            target + plane * result,
            addend + plane * result,
            weights + channel * window.rows,
            biases + channel,
        )
        convolve_planes(tile, window, roll, places, table, extents, until - channel, band, flags, ahead)


@threaded
def convolve(tile, window, roll, masks, shape, extents, operands, band, flags, ahead, threads):
    for thread in prange(threads):
        number = np.intp(thread)
        convolve_share(tile, window, roll, masks, shape, extents, operands, band, flags, ahead, number, threads)


class _Depthwise:
    """What the plans of both directions share; source, target: (rows, columns) of the planes that are read and written."""

    workspace_bytes = 0

    def __init__(self, problem, threads, axes, source, target):
        self.problem = problem
        vertical, horizontal = axes
        self.tile = Tile(vertical.step, horizontal.step, problem.dtype)
        self.window = Tile(problem.R * problem.S, 1, problem.dtype)
        self.roll = Roll(vertical, horizontal, self.tile)
        self.extents, threads = (*source, *target), threads_for(threads, problem.flops, THREAD_FLOPS)
        together, self.band, self.ahead = walk_of(source, target, vertical, len(self.roll.masks), self.tile.itemsize)
        blocks = -(-problem.K // min(together, max(1, -(-problem.N * problem.K // threads))))
        self.shape, self.threads = (problem.N, problem.K, blocks), max(1, min(threads, problem.N * blocks))
        self.no_bias, self.zeros = np.zeros(problem.K, problem.dtype), np.zeros(source[1], problem.dtype)

    def pack(self, weight, packed=None):
        """The weight (K, 1, R, S), of any strides, as one line."""
        if packed is None:
            packed = aligned(weight.size, weight.dtype)
        np.copyto(packed[: weight.size].reshape(weight.shape), weight)
        return packed

    def _run(self, x, packed, bias, residual, activation, out):
        operands = (
            x.reshape(-1),
            packed,
            self.no_bias if bias is None else bias,
            (out if residual is None else residual).reshape(-1),
            out.reshape(-1),
            self.zeros,
        )
        flags = residual is not None, activation == "relu"
        shapes = self.tile, self.window, self.roll
        convolve(*shapes, self.roll.masks, self.shape, self.extents, operands, self.band, flags, self.ahead, self.threads)
        return out


def walk_of(source, target, vertical, tiles, itemsize):
    """How planes of these (rows, columns) are walked through: so many together, groups of rows of a band, what is asked for.

    The last is (elements of source and target from what is computed, elements of each with a group).
    """
    room, groups = caches().level1 * BAND_SHARE / itemsize, ceil(vertical.target / vertical.step)
    planes = prod(source), prod(target)
    together = max(1, int(room // sum(planes)))
    band = ceil(groups / min(groups, ceil(sum(planes) / room)))
    later = ceil(room / (sum(planes) * band / groups)) * band
    pieces = [ceil(plane / (groups * tiles)) for plane in planes]
    return together, band, (later * vertical.advance * source[1], later * vertical.step * target[1], *pieces)


class Forward(_Depthwise):
    """A plan for the convolution of NCHW images of one shape."""

    def __init__(self, problem, threads=1):
        super().__init__(problem, threads, forward_axes(problem), (problem.H, problem.W), (problem.P, problem.Q))

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        """Write activation(conv(x, weight) + bias + residual) into ``out``.

        Parameters
        ----------
        x : (N, C, H, W), C-contiguous
        packed : what ``pack`` returned
        out, residual : (N, C, P, Q), C-contiguous
        bias : (C,)
        activation : None or "relu"
        """
        return self._run(x, packed, bias, residual, activation, out)


class BackwardInput(_Depthwise):
    """A plan for the gradient with respect to the input: the transpose, from (N, C, P, Q) to (N, C, H, W)."""

    def __init__(self, problem, threads=1):
        super().__init__(problem, threads, transposed_axes(problem), (problem.P, problem.Q), (problem.H, problem.W))

    def __call__(self, grad_output, packed, out):
        """Write the gradient (N, C, H, W) for the gradient (N, C, P, Q) of the output into ``out``; all C-contiguous."""
        return self._run(grad_output, packed, None, None, None, out)


def refuses(problem):
    """Why this kernel cannot compute ``problem``."""
    against = []
    if not problem.groups == problem.C == problem.K:
        against.append("it takes one channel in and one out for each group alone")
    if max(problem.stride) > MOST_STRIDE or problem.R * problem.S > MOST_TAPS:
        against.append(f"it takes strides up to {MOST_STRIDE} and windows of up to {MOST_TAPS} taps")
    return tuple(against)
