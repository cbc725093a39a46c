"""Convolution, bias, ReLU and 2 x 2 max pooling with lanes over pooling windows: for few output channels (NHWC).

    maximum over the four places n of a window q of  sum over (r, s, c) of weight[(r, s, c), k] * frame[q + tap[r, s, c, n]]

With lanes over channels six of them would leave ten lanes of sixteen idle.  Here a register tile has a row for each channel
and a vector for each place: lane by lane it holds neighbouring windows, whose maximum is taken before they are transposed to
the order of the output.  Windows that are neighbours read pixels that are not: in the frame of zeros the columns are sorted
by phase (x mod the step from window to window), so that one vector load brings ``lanes`` of them.

Sources: Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures", 2018, for the lanes;
the fusion is folklore.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from ..cpu.compile import jit, of_one_kind, serial, threaded
from ..cpu.pack import pack, square, transpose
from ..cpu.places import block, panel_at
from ..cpu.pooled import maxima_across, positions_across, square_of_positions
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry
from ..cpu.tile import Tile, pointer, rank1, spread_rows, store_tile
from ..cpu.workspace import aligned, caches, workspace
from ..problems.pooled import WINDOW
from .frame_cpu import copy_phase
from .geometry import integer

TILES = (6, 4), (4, 4), (2, 4)
"""(rows, vectors): a vector for each place of a window, and as many rows as the registers hold."""


def tile_of(dtype):
    """The first tile that fits, and whose rows fill no more than a vector when they are transposed."""
    tiles = (Tile(*shape, dtype) for shape in TILES)
    return next(tile for tile in tiles if tile.fits() and tile.rows <= tile.lanes)


class Geometry(NamedTuple):
    """Lengths of one image; pitches in elements of its frame.

    rows, columns, channels : of the image
    top, height : rows of the border above, and of the frame
    phases : columns from one window to the next
    line, row, down : from one phase and one row to the next, and from one row of windows
    P, Q, K, depth : windows, output channels and the terms of a sum
    """

    rows: int
    columns: int
    channels: int
    top: int
    height: int
    phases: int
    line: int
    row: int
    down: int
    P: int
    Q: int
    K: int
    depth: int


def geometry(problem, lanes):
    """(``Geometry``, table of phases, table of taps) of a ``ConvPool``.

    phases : (phases, 3) where in its line a phase of the image begins, the column that is there, how many follow
    taps : (depth, 4) offsets in the frame of the pixels that the places of the first window multiply
    """
    conv = problem.conv
    (down, across), (gap_down, gap_across), ((top, _), (left, _)) = conv.stride, conv.dilation, conv.padding
    step, reach = WINDOW * across, across + (conv.S - 1) * gap_across
    line = -(-problem.Q // lanes) * lanes + reach // step
    row = conv.C * step * line
    phases = []
    for phase in range(step):
        first = max(0, -((phase - left) // step))
        column = first * step + phase - left
        phases.append((first, column, max(0, min(line - first, -((column - conv.W) // step)))))
    taps = []
    for r, s, c in np.ndindex(conv.R, conv.S, conv.C):
        for i, j in np.ndindex(WINDOW, WINDOW):
            y, x = i * down + r * gap_down, j * across + s * gap_across
            taps.append(y * row + (c * step + x % step) * line + x // step)
    height = (WINDOW * problem.P - 1) * down + (conv.R - 1) * gap_down + 1
    lengths = Geometry(
        *(conv.H, conv.W, conv.C, top, height, step, line, row, WINDOW * down * row, problem.P, problem.Q, problem.K),
        conv.depth,
    )
    return lengths, integer(phases, 3), integer(taps, WINDOW**2)


@jit
def frame_image(tile, lengths, phases, image, frame):
    """frame[y, c, phase, t] = image[y - top, t * phases + phase - left, c]; what is not in the image is zero already."""
    channels, step = lengths.channels, lengths.phases
    for y in range(lengths.top, min(lengths.height, lengths.top + lengths.rows)):
        source = image + (y - lengths.top) * lengths.columns * channels
        for phase in range(step):
            first, column, count = entry(phases, 3 * phase), entry(phases, 3 * phase + 1), entry(phases, 3 * phase + 2)
            for c in range(channels):
                target = frame + (y * lengths.row + (c * step + phase) * lengths.line + first)
                copy_phase(tile, source + (column * channels + c), step * channels, count, target)


@jit
def pool_image(tile, lengths, taps, frame, packed, bias, out, positions, kept):
    """The windows of an image, a vector of them at a time, for each tile of channels; all but the lengths are pointers."""
    K = lengths.K
    for p in range(lengths.P):
        for q in range(0, lengths.Q, tile.lanes):
            source = frame + (p * lengths.down + q)
            for k in range(0, K, tile.rows):
                a, total = packed + k * lengths.depth, spread_rows(tile, bias + k)
                for d in range(lengths.depth):
                    total = rank1(total, a + d * tile.rows, panel_at(tile, source, taps + d * tile.vectors))
                place, windows = (p * lengths.Q + q) * K + k, lengths.Q - q
                store_tile(transpose(maxima_across(total)), block(square(tile), out + place, K, windows, K - k))
                if kept:
                    found = transpose(positions_across(total))
                    store_tile(found, block(square_of_positions(tile), positions + place, K, windows, K - k))


@jit
def pool_share(tile, lengths, tables, images, operands, kept, frames, thread, threads):
    """The images that are this thread's; operands: images, packed weights, bias, outputs, positions."""
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    frame, phases = pointer(tile, frames, thread * frames.shape[1]), pointer(tile, tables[0], 0)
    taps, x = pointer(tile, tables[1], 0), pointer(tile, operands[0], 0)
    packed, bias = pointer(tile, operands[1], 0), pointer(tile, operands[2], 0)
    out, positions = pointer(tile, operands[3], 0), pointer(tile, operands[4], 0)
    size, maxima = lengths.rows * lengths.columns * lengths.channels, lengths.P * lengths.Q * lengths.K
    first, end = share(thread, threads, images)
    for n in range(first, end):
        frame_image(tile, lengths, phases, x + n * size, frame)
        pool_image(tile, lengths, taps, frame, packed, bias, out + n * maxima, positions + n * maxima, kept)


@threaded
def pool(tile, lengths, tables, images, operands, kept, frames, threads):
    for thread in prange(threads):
        pool_share(tile, lengths, tables, images, operands, kept, frames, np.intp(thread), threads)


@serial
def pack_weights(tile, weight, width, depth, packed):
    """packed[tile of channels, (r, s, c), channel] = weight[(r, s, c), channel]."""
    for k in range(0, width, tile.rows):
        target = pointer(tile, packed, k * depth)
        pack(tile, tile.rows, pointer(tile, weight, k), 1, width, min(tile.rows, width - k), depth, target)


class Forward:
    """A plan for the convolution and pooling of NHWC images of one shape.  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        self.tile = tile or tile_of(problem.dtype)
        self.lengths, *tables = geometry(problem, self.tile.lanes)
        self.tables = tuple(tables)
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), problem.N))
        self.frames = workspace(self.threads, self.lengths.height * self.lengths.row, problem.dtype)
        self.bias = np.zeros(-(-problem.K // self.tile.rows) * self.tile.rows, problem.dtype)
        self.no_bias, self.no_positions = np.zeros_like(self.bias), np.zeros(1, np.uint8)
        self.workspace_bytes = self.frames.nbytes
        self._pool, self._pack = of_one_kind(pool), of_one_kind(pack_weights)

    def pack(self, weight, packed=None):
        """Panels of the weight (R, S, C, K), of any strides."""
        depth = self.problem.conv.depth
        if packed is None:
            packed = aligned(self.bias.size * depth + self.tile.lanes, self.problem.dtype)
        self._pack(self.tile, np.ascontiguousarray(weight).reshape(-1), self.problem.K, depth, packed)
        return packed

    def __call__(self, x, packed, out, positions=None, bias=None):
        """Write the maximum of each 2 x 2 window of relu(conv(x, weight) + bias) into ``out``.

        Parameters
        ----------
        x : (N, H, W, C), C-contiguous
        packed : what ``pack`` returned
        out : (N, P // 2, Q // 2, K), C-contiguous
        positions : the same shape, uint8, optional
            0 … 3: where in its window the first maximum was; 4 where ReLU set it to zero.
        bias : (K,)
        """
        if bias is not None:
            self.bias[: self.problem.K] = bias
        operands = (
            x.reshape(-1),
            packed,
            self.no_bias if bias is None else self.bias,
            out.reshape(-1),
            (self.no_positions if positions is None else positions).reshape(-1),
        )
        kept = positions is not None
        self._pool(self.tile, self.lengths, self.tables, self.problem.N, operands, kept, self.frames, self.threads)
        return out


def refuses(problem):
    """Why it cannot compute ``problem``."""
    return () if problem.conv.groups == 1 else ("it takes no groups",)


def declines(problem):
    """Why another kernel should compute ``problem``: by cycles for a row of windows.

    For images of 8 to 28 pixels and windows of 3 x 3 and 5 x 5 the ratio of the two sums is within a tenth of that of the
    times of this kernel and the implicit matrix product: 0.5 of it for LeNet-5's first layer, 1.1 with 10 channels there.
    """
    tile, conv = tile_of(problem.dtype), problem.conv
    lengths, _, _ = geometry(problem, tile.lanes)
    if lengths.height * lengths.row * tile.itemsize > caches().level2 // 2:
        return ("the frame of an image is larger than half of the second cache",)
    tiles = -(-problem.Q // tile.lanes) * -(-problem.K // tile.rows)
    gathered = WINDOW * conv.stride[0] * conv.W * conv.C * (SHUFFLED if conv.C == conv.stride[1] == 1 else GATHERED)
    own = tiles * (tile.rows * tile.vectors * lengths.depth / 2 + STORED) + gathered
    channel_lanes = problem.Q * (WINDOW**2 * lengths.depth / 2 * -(-problem.K // tile.lanes) + WINDOW_STORED)
    return () if own < channel_lanes else ("lanes over channels are faster",)


SHUFFLED, GATHERED, STORED, WINDOW_STORED = 1.5, 3.5, 90, 20
"""Cycles: to frame a pixel's number with its neighbours and alone, for the maxima of a tile, and of a window elsewhere."""
