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

from ..cpu.compile import jit, threaded
from ..cpu.rolling import Roll, begin, finished, following, load_group, masks_at, slide, store_group
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import prefetch
from ..cpu.tile import Tile, add_tile, pointer, rectify, spread_rows
from ..cpu.workspace import aligned, caches
from .geometry import forward_axes, transposed_axes

BAND_SHARE = 0.4
"""Of the first cache: a band of rows, in which the window rolls down one vector's width after another."""

MOST_STRIDE = 4
"""Beyond, nearly all that is loaded is not used, or nearly all registers are phases."""

MOST_TAPS = 49
"""Products of all taps are written out in the code."""


@jit
def convolve_column(tile, window, roll, places, extents, start, rows, flags, ahead, pieces):
    """One vector's width of a plane, groups of rows from the first of ``rows`` to the last.

    places: (source, zeros, target, addend, weights, masks), at row 0 and column 0 of this tile, and its masks
    extents: (rows, columns) of the source, then of the target; start: of all sums
    ahead: (source, target) that come later; pieces: elements of each that are asked for with a group
    """
    source, zeros, target, addend, weights, masks = places
    height, width, target_rows, columns = extents
    taps, own = spread_rows(window, weights), masks_at(roll, masks)
    sums = begin(roll, taps, start, source, width, zeros, rows[0], height, own)
    for group in range(rows[0], rows[1]):
        sums = slide(roll, sums, taps, source, width, zeros, group, height, own)
        total, p = finished(roll, sums), group * roll.step
        if flags[0]:
            total = add_tile(total, load_group(roll, total, addend + p * columns, columns, target_rows - p, own))
        if flags[1]:
            total = rectify(total)
        store_group(roll, total, target + p * columns, columns, target_rows - p, own)
        sums = following(roll, sums, start)
        for t in range(roll.read):
            prefetch(ahead[0] + ((group - rows[0]) * pieces[0] + t * tile.lanes))
        for t in range(roll.written):
            prefetch(ahead[1] + ((group - rows[0]) * pieces[1] + t * tile.lanes))


@jit
def convolve_plane(tile, window, roll, places, table, extents, start, bands, flags, fetched):
    """A plane, band by band.

    bands: groups of rows of a band, and of the plane; table: masks of the tiles of a row, so many for each
    fetched: elements from what is computed to what is asked for, of source and target, and ``pieces``
    """
    source, zeros, target, addend, weights = places
    _, width, _, columns = extents
    step, advance, masks = tile.columns, tile.lanes * roll.across, roll.masks
    tiles, distances, pieces = (columns + step - 1) // step, fetched[:2], fetched[2:]
    for top in range(0, bands[1], bands[0]):
        rows = top, min(top + bands[0], bands[1])
        groups, first, place = bands[0], top * roll.advance * width, top * roll.step * columns
        for t in range(tiles):
            column, q = t * advance, t * step
            near = source + column, zeros + column, target + q, addend + q, weights, table + t * masks
            ahead = (
                source + (first + distances[0] + t * groups * pieces[0]),
                target + (place + distances[1] + t * groups * pieces[1]),
            )
            convolve_column(tile, window, roll, near, extents, start, rows, flags, ahead, pieces)


@jit
def convolve_share(tile, window, roll, masks, shape, extents, operands, bands, flags, fetched, thread, threads):
    """The planes that are this thread's; shape: (images, channels); flags: (adds, rectifies)."""
    images, channels = shape
    x, packed, bias, residual, out, zeros = operands
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    source, target, table = pointer(tile, x, 0), pointer(tile, out, 0), pointer(tile, masks, 0)
    weights, biases, addend = pointer(tile, packed, 0), pointer(tile, bias, 0), pointer(tile, residual, 0)
    row = pointer(tile, zeros, 0)
    size, result = extents[0] * extents[1], extents[2] * extents[3]
    first, end = share(thread, threads, images * channels)
    for plane in range(first, end):
        c = plane % channels
        places = source + plane * size, row, target + plane * result, addend + plane * result, weights + c * window.rows
        convolve_plane(tile, window, roll, places, table, extents, biases[c], bands, flags, fetched)


@threaded
def convolve(tile, window, roll, masks, shape, extents, operands, bands, flags, fetched, threads):
    for thread in prange(threads):
        number = np.intp(thread)
        convolve_share(tile, window, roll, masks, shape, extents, operands, bands, flags, fetched, number, threads)


class _Depthwise:
    """What the plans of both directions share; source, target: (rows, columns) of the planes that are read and written."""

    workspace_bytes = 0

    def __init__(self, problem, threads, axes, source, target):
        self.problem = problem
        vertical, horizontal = axes
        self.tile = Tile(vertical.step, horizontal.step, problem.dtype)
        self.window = Tile(problem.R * problem.S, 1, problem.dtype)
        self.roll = Roll(vertical, horizontal, self.tile)
        self.shape, self.extents = (problem.N, problem.K), (*source, *target)
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), problem.N * problem.K))
        self.bands, self.fetched = bands_of(prod(source), prod(target), vertical, len(self.roll.masks), self.tile.itemsize)
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
        convolve(*shapes, self.roll.masks, self.shape, self.extents, operands, self.bands, flags, self.fetched, self.threads)
        return out


def bands_of(source, target, vertical, tiles, itemsize):
    """((groups of rows of a band, and of a plane), elements of source and target by which to ask ahead, and with a group)."""
    room, groups = caches().level1 * BAND_SHARE / itemsize, ceil(vertical.target / vertical.step)
    bands = min(groups, ceil((source + target) / room))
    later = ceil(room / ((source + target) / bands)) / bands
    pieces = [ceil(plane / (groups * tiles)) for plane in (source, target)]
    return (ceil(groups / bands), groups), (ceil(later * source), ceil(later * target), *pieces)


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
