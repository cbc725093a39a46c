"""Depthwise convolution and its transpose on small planes: lanes are the pixels of many planes, as if they were one (NCHW).

    out[k, p, q] = sum over r, s of x[k, p + r - top, q + s - left] * weight[k, r, s]

Rows that are shorter than a vector, or a little longer, leave lanes empty.  The planes of as many channels as a vector has
lanes, a block, lie one after another in memory and are whole vectors in any case, if rows and planes are not looked at.  Two
images go through a block together, vector by vector (``cpu/plane_run``), under the same taps and masks.  In the transpose
other pixels meet, and nothing else differs.

Source: Zhang, Lo & Lu, "High Performance Depthwise and Pointwise Convolutions on Mobile Devices", 2020, for windows on planes.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.plane_run import PlaneRun, add_images, advance, finished, spread_taps, store_images
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry, load_first, prefetch
from ..cpu.tile import Tile, pointer, rectify, zero
from ..cpu.workspace import aligned, even
from .frame_cpu import flat, pack_panels
from .geometry import forward_axes, transposed_axes

MOST_IMAGES = 2
"""That go through a block together.  With 3 x 3 taps registers hold 10 vectors of factors and three for each image.

Measured, 12 x 1024 x 7 x 7, 12 x 512 x 14 x 14 and 12 x 384 x 13 x 13: two take 91, 152 and 97 µs, three 92, 153 and 97; of
four some vectors are put aside in memory, and they take 1.4 times as long.
"""

AHEAD = 32
"""Vectors: so far ahead of the one that is computed lines are asked for.

Measured, 16 x 1024 x 7 x 7, 16 x 512 x 14 x 14, 16 x 384 x 13 x 13 and 16 x 256 x 24 x 24: 0.93, 0.88, 0.93 and 0.93 of the
time that it takes to leave it to the processor.
"""

LEAST_BYTES = 16
"""Of the shortest vectors: a column of taps that reaches further would need the vector after the next."""

MOST_TAPS = 25
"""Beyond, few of them stay in registers."""

FILLED = 0.87
"""Of the lanes of a row's vectors: rows of several vectors that fill so many are better taken one by one.

Measured, forward and the gradient of the input in units of ``depthwise_planes``: 20 columns 0.57, 24 0.82, 26 0.93, 36 0.88,
40 0.92; 28 1.02, 30 1.13, 32 1.04, 48 1.16, 56 1.19, 80 1.09.  In one vector: 13 columns 0.79, 14 0.79, 16 0.94.
"""

MOST_VECTORS = 3
"""In a row of pixels: the tables of larger planes, 120 bytes for a vector, would not stay in the second cache."""


@inlined
def finish(run, carried, target, addend, pitch, masks, flags):
    """Store the targets that the step with these masks has finished."""
    total = finished(carried)
    if flags[0]:
        total = add_images(run, total, addend, pitch, masks)
    if flags[1]:
        total = rectify(total)
    store_images(run, total, target, pitch, masks)


@inlined
def fetch_ahead(tile, source, target, ahead, image):
    """Bring the lines of each image that come so far ahead nearer: they will be read, or overwritten."""
    for i in range(tile.rows):
        prefetch(source + (ahead + i * image))
        prefetch(target + (ahead + i * image))


@jit
def convolve_block(tile, run, tables, vectors, pitches, places, bias, flags):
    """All vectors of a block of planes, in as many images as ``tile`` has rows.

    tables: masks and planes of the vectors; pitches: elements from one (image, row) to the next; bias: a vector
    places: (source, target, addend, weights); flags: (adds, rectifies)
    """
    masks, planes = tables
    source, target, addend, weights = places
    carried, factors = zero(tile), spread_taps(run, weights, bias, planes)
    for v in range(vectors + 1):
        here, known = min(v, vectors - 1) * tile.lanes, masks + v * run.masks
        if v > 1:
            done = (v - 2) * tile.lanes
            finish(run, carried, target + done, addend + done, pitches[0], known + -run.masks, flags)
        fetch_ahead(tile, source, target, here + AHEAD * tile.lanes, pitches[0])
        if entry(known, run.masks - 1):
            factors = spread_taps(run, weights, bias, planes + here)
        carried = advance(tile, run, carried, factors, source + here, pitches, known)
    done = (vectors - 1) * tile.lanes
    finish(run, carried, target + done, addend + done, pitches[0], masks + vectors * run.masks, flags)


@jit
def convolve_share(tile, last, run, tables, shape, operands, flags, thread, threads):
    """The blocks that are this thread's, those of one group of images after those of another.

    last: for the images of which no whole tile is left; shape: (images, channels, pixels of a plane, columns, taps)
    """
    images, channels, pixels, width, taps = shape
    x, packed, bias, residual, out = operands
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    source, target, addend = pointer(tile, x, 0), pointer(tile, out, 0), pointer(tile, residual, 0)
    weights, biases = pointer(tile, packed, 0), pointer(tile, bias, 0)
    masks, planes = pointer(tile, tables[0], 0), pointer(tile, tables[1], 0)
    blocks, groups = (channels + tile.lanes - 1) // tile.lanes, (images + tile.rows - 1) // tile.rows
    pitches = channels * pixels, width
    begin, end = share(thread, threads, blocks * groups)
    for task in range(begin, end):
        n, k = task // blocks * tile.rows, task % blocks * tile.lanes
        existing, place = min(tile.lanes, channels - k), n * pitches[0] + k * pixels
        places = source + place, target + place, addend + place, weights + k * taps
        first = 0 if existing == tile.lanes else pixels + 1  # of the tables
        known = masks + first * run.masks, planes + first * tile.lanes
        vectors = (existing * pixels + tile.lanes - 1) // tile.lanes
        offset = load_first(biases + k, existing)
        if images - n >= tile.rows:
            convolve_block(tile, run, known, vectors, pitches, places, offset, flags)
        else:
            convolve_block(last, run, known, vectors, pitches, places, offset, flags)


@threaded
def convolve(tile, last, run, tables, shape, operands, flags, threads):
    for thread in prange(threads):
        convolve_share(tile, last, run, tables, shape, operands, flags, np.intp(thread), threads)


class _Depthwise:
    """What the plans of both directions share; axes: (vertical, horizontal)."""

    workspace_bytes = 0

    def __init__(self, problem, threads, axes):
        self.problem, self.vector = problem, Tile(1, 1, problem.dtype)
        lanes, taps = self.vector.lanes, list(np.ndindex(problem.R, problem.S))
        self.blocks, left = -(-problem.K // lanes), problem.K % lanes
        self.run = PlaneRun(*axes, left != 0)
        index = f"int{8 * self.vector.itemsize}"
        runs = self.run.tables(lanes, lanes, index), self.run.tables(left, lanes, index)
        self.tables = tuple(np.concatenate(tables) for tables in zip(*runs, strict=True))
        images = even(problem.N, MOST_IMAGES, 1)
        self.tiles = [Tile(rows, self.run.carried, problem.dtype) for rows in (images, problem.N % images or images)]
        self.shape = problem.N, problem.K, problem.H * problem.W, problem.W, len(taps)
        tasks = self.blocks * -(-problem.N // images)
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), tasks))
        self.taps, self.no_bias = np.array(taps), np.zeros(problem.K, problem.dtype)

    def pack(self, weight, packed=None):
        """For each block of channels a vector for each tap of the weight (K, 1, R, S), of any strides."""
        if packed is None:
            packed = aligned(self.blocks * len(self.taps) * self.vector.lanes, weight.dtype)
        line, (column, _, down, right) = flat(weight)
        pack_panels(self.vector, line, (down, right, 0, column, 0), self.taps, 1, self.problem.K, 1, packed, 0)
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
        convolve(*self.tiles, self.run, self.tables, self.shape, operands, flags, self.threads)
        return out


class Forward(_Depthwise):
    """A plan for the convolution of NCHW images of one shape."""

    def __init__(self, problem, threads=1):
        super().__init__(problem, threads, forward_axes(problem))

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        """Write activation(conv(x, weight) + bias + residual) into ``out``.

        Parameters
        ----------
        x : (N, C, H, W), C-contiguous
        packed : what ``pack`` returned
        out, residual : (N, C, H, W), C-contiguous
        bias : (C,)
        activation : None or "relu"
        """
        return self._run(x, packed, bias, residual, activation, out)


class BackwardInput(_Depthwise):
    """A plan for the gradient with respect to the input: the transpose."""

    def __init__(self, problem, threads=1):
        super().__init__(problem, threads, transposed_axes(problem))

    def __call__(self, grad_output, packed, out):
        """Write the gradient (N, C, H, W) for that of the output, of the same shape, into ``out``; both C-contiguous."""
        return self._run(grad_output, packed, None, None, None, out)


def reach(problem):
    """The most columns that a tap may be away: the lanes of a vector, whatever the machine's, on which no answer depends."""
    return LEAST_BYTES // np.dtype(problem.dtype).itemsize


def refuses(problem):
    """Why this kernel cannot compute ``problem``."""
    against = []
    if not problem.groups == problem.C == problem.K:
        against.append("it takes one channel in and one out for each group alone")
    if max(problem.stride) > 1 or (problem.P, problem.Q) != (problem.H, problem.W):
        against.append("it takes strides of 1 and outputs of the image's size")
    if problem.R * problem.S > MOST_TAPS or max(problem.padding[1]) > reach(problem):
        against.append(f"it takes windows of up to {MOST_TAPS} taps that reach up to {reach(problem)} columns to a side")
    return tuple(against)


def declines(problem):
    """Why another kernel should compute ``problem``."""
    lanes = Tile(1, 1, problem.dtype).lanes
    vectors = -(-problem.W // lanes)
    against = []
    if vectors > 1 and FILLED * vectors * lanes < problem.W:
        against.append("rows of pixels fill vectors")
    if vectors > MOST_VECTORS:
        against.append("its tables are large")
    return tuple(against)
