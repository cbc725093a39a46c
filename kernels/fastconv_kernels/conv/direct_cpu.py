"""Direct convolution for few channels: lanes over pixels, the image where it is, NCHW in and out.

    out[k, pixel] = sum over (c, r, s) of weight[k, (c, r, s)] * framed[start[pixel] + offset[c, r, s]]

The weights are the rows of A, packed; a row of B is the planes of a group themselves, in a frame of zeros, read ``offset``
further on.  Nothing is gathered.  Dilation is another table of offsets.  With a stride the columns of the frame are sorted by
phase (x mod stride), so that neighbours in the output are neighbours in memory and one vector load still brings ``lanes``
pixels.  Where a group has a single output channel, depthwise, a tile is one row of many vectors.

The gradient of the input is the same with the weights turned by 180 degrees.  NHWC images are transposed in registers on
their way into the frame and back.  Results that the caches do not hold are written past them.

Sources: Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures", 2018; Dukhan, "The
Indirect Convolution Algorithm", 2019, for the table.
"""

from math import prod

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.tile import pointer, streamed
from ..cpu.workspace import aligned, caches, far_caches, workspace
from ..problems import Conv
from .direct_stages_cpu import convolve_strips, pack_weights, turn
from .frame_cpu import flat, frame_planes
from .strips import band_rows, frame_shape, offset_table, strip_table, strips_of_run, tile_for
from .walk import exceed_caches

TILES = (8, 3), (11, 2), (6, 4), (6, 2), (4, 3), (2, 8), (1, 8)
"""(rows, vectors): those that keep both multipliers busy, and two for groups of one or two output channels."""

FAR_SHARE = 16
"""Times the second cache: larger results are written past the caches where the third is as far as memory.

Measured on a Granite Rapids: 51 MB of results, n4 c3 224x224 k64 3x3 and n16 k64 7x7 s2, 0.75 and 0.95 of the time, 26 MB,
n16 k32 3x3 s2, 1.12: such stores wait for each other, and for what is asked for meanwhile, which is therefore left out.
"""

FETCHED_SHARE = 0.25
"""Of the second cache for what is fetched ahead of time; whole groups of larger planes the processor foresees."""


@jit
def convolve_share(tile, tables, extents, shape, operands, flags, frames, thread, threads):
    """The bands of the groups of images that are this thread's."""
    x, panels, bias, residual, out = operands
    images, groups, channels, H, W, top, left, rows, phases, pitch, grain, bands, strips, down = extents[:14]
    runs, asked, each, wanted, some, asking = extents[14:]
    width, pixels, _ = shape
    plane, result = channels * H * W, width * pixels
    padded = (width + tile.rows - 1) // tile.rows * tile.rows
    framed = pointer(tile, frames, thread * frames.shape[1])
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    planes, weights, biases = pointer(tile, x, 0), pointer(tile, panels, 0), pointer(tile, bias, 0)
    addends, results, count = pointer(tile, residual, 0), pointer(tile, out, 0), tables[1].shape[0]
    first_task, end_task = share(thread, threads, images * groups * bands)
    for task in range(first_task, end_task):
        which, number = task // bands, task % bands
        g = which % groups
        source, target = planes + which * plane, results + which * result
        y = number * down - top
        frame_planes(tile, source, (channels, H, W), (y, -left), (rows, phases, pitch, grain), framed, bands > 1)
        epilogue = biases + g * padded, addends + which * result, *flags
        first, end = number * strips, min(count, (number + 1) * strips)
        onward = (y + rows) * W if number + 1 < bands else plane
        ahead = (source + onward, runs, H * W, asked, each), (target + result, 1, 0, wanted, some), asking
        convolve_strips(
            tile, weights + g * padded * tables[0].size, tables, shape, framed, epilogue, first, end, target, ahead
        )
    streamed(tile)


@threaded
def convolve(tile, tables, extents, shape, operands, flags, frames, threads):
    for thread in prange(threads):
        convolve_share(tile, tables, extents, shape, operands, flags, frames, np.intp(thread), threads)


class Forward:
    """A plan for the convolution of NCHW images of one shape.  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        self._settle(problem, threads, tile)

    def _settle(self, problem, threads, tile):
        """For the convolution ``problem``, which need not be that of the plan."""
        self.tile = tile or tile_for(problem, TILES)
        self.width, self.depth, self.groups = problem.K // problem.groups, problem.depth, problem.groups
        _, phases, pitch, grain = frame_shape(problem)
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        band, rows = band_rows(problem, self.tile, threads, phases, pitch)
        table = strip_table(problem, phases, pitch, self.tile, band)
        self.tables = offset_table(problem, rows, phases, pitch, grain), table
        images, channels, bands = problem.N * problem.groups, problem.C // problem.groups, -(-problem.P // band)
        strips, down = band * -(-problem.Q // self.tile.lanes) // self.tile.vectors, band * problem.stride[0]
        self.threads = max(1, min(threads, images * bands))
        (top, _), (left, _) = problem.padding
        self.shape = self.width, problem.P * problem.Q, strips_of_run(problem, self.tile)
        self.streamed = exceed(problem) and problem.Q % self.tile.lanes == 0
        plane, result = channels * problem.H * problem.W, prod(self.shape[:2])
        framed = channels * rows * phases * pitch
        space = caches().level2 // self.tile.itemsize
        near = bands == 1 and plane + result <= FETCHED_SHARE * space
        runs, asked, wanted = (1, plane, result) if near else (1, 0, 0)
        if bands > 1 and not self.streamed:
            runs, asked = channels, down * problem.W
        image, frame = (channels, problem.H, problem.W), (rows, phases, pitch, grain)
        strips = strips if bands > 1 else len(table)
        turns, lanes = strips * -(-self.width // self.tile.rows), self.tile.lanes
        each, some = (-(-size // (turns * lanes)) * lanes or lanes for size in (asked, wanted))
        asks = runs, asked, each, wanted, some, max(-(-asked // each), -(-wanted // some))
        self.extents = problem.N, problem.groups, *image, top, left, *frame, bands, strips, down, *asks
        # A last vector may reach past the last row of the frame.
        self.frames = workspace(self.threads, framed + self.tile.lanes, problem.dtype)
        self.bias = np.zeros((problem.groups, -(-self.width // self.tile.rows) * self.tile.rows), problem.dtype)
        self.no_bias = np.zeros_like(self.bias)
        self.workspace_bytes = self.frames.nbytes

    def pack(self, weight, packed=None):
        """Panels of the weight (K, C / groups, R, S), of any strides."""
        line, strides = flat(weight if weight[0].flags.c_contiguous else np.ascontiguousarray(weight))
        return self._pack(line, strides[0], packed)

    def _pack(self, weight, stride, packed):
        if packed is None:
            packed = aligned(self.bias.size * self.depth + self.tile.lanes, self.problem.dtype)
        pack_weights(self.tile, weight, (stride, 1), self.groups, self.width, self.depth, packed)
        return packed

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        """Write activation(conv(x, weight) + bias + residual) into ``out``.

        Parameters
        ----------
        x : (N, C, H, W), C-contiguous
        packed : what ``pack`` returned
        out, residual : (N, K, P, Q), C-contiguous
        bias : (K,)
        activation : None or "relu"
        """
        if bias is not None:
            self.bias[:, : self.width] = bias.reshape(-1, self.width)
        operands = (
            x.reshape(-1),
            packed,
            (self.no_bias if bias is None else self.bias).reshape(-1),
            (out if residual is None else residual).reshape(-1),
            out.reshape(-1),
        )
        streams = self.streamed and out.ctypes.data % (self.tile.lanes * self.tile.itemsize) == 0
        flags = residual is not None, activation == "relu", streams
        convolve(self.tile, self.tables, self.extents, self.shape, operands, flags, self.frames, self.threads)
        return out


class PlanesBackwardInput(Forward):
    """A plan for the gradient of the input, NCHW: from (N, K, P, Q) to (N, C, H, W).  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        self._settle(transposed(problem), threads, tile)

    def pack(self, weight, packed=None):
        """Panels of the weight (K, C / groups, R, S), of any strides, turned by 180 degrees, its channels exchanged."""
        in_groups = weight[:, :, ::-1, ::-1].reshape(self.groups, -1, *weight.shape[1:])
        return self._pack(np.ascontiguousarray(in_groups.swapaxes(1, 2)).reshape(-1), self.depth, packed)

    def __call__(self, grad_output, packed, out):
        """Write the gradient (N, C, H, W) for the gradient (N, K, P, Q) of the output into ``out``; both C-contiguous."""
        return super().__call__(grad_output, packed, out)


@jit
def transpose_share(tile, tables, extents, shape, operands, buffers, thread, threads):
    """The images that are this thread's: gradient to planes in a frame, convolved to planes, those to pixels."""
    grad, panels, zeros, out = operands
    images, groups, K, P, Q, top, left, rows, pitch, C = extents
    width, size, _ = shape
    padded = (width + tile.rows - 1) // tile.rows * tile.rows
    framed = pointer(tile, buffers[0], thread * buffers[0].shape[1])
    planes = pointer(tile, buffers[1], thread * buffers[1].shape[1])
    epilogue = pointer(tile, zeros, 0), planes, False, False, False
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    gradients, weights, results = pointer(tile, grad, 0), pointer(tile, panels, 0), pointer(tile, out, 0)
    count = tables[1].shape[0]
    first, end = share(thread, threads, images)
    for n in range(first, end):
        for y in range(P):
            turn(tile, gradients + (n * P + y) * Q * K, K, Q, K, framed + ((y + top) * pitch + left), rows * pitch)
        for g in range(groups):
            own, source = weights + g * padded * tables[0].size, framed + g * (K // groups) * rows * pitch
            target = planes + g * width * size
            nothing = (target, 0, 0, 0, 0), (target, 0, 0, 0, 0), 0
            convolve_strips(tile, own, tables, shape, source, epilogue, 0, count, target, nothing)
        turn(tile, planes, size, C, size, results + n * size * C, C)


@threaded
def convolve_transposed(tile, tables, extents, shape, operands, buffers, threads):
    for thread in prange(threads):
        transpose_share(tile, tables, extents, shape, operands, buffers, np.intp(thread), threads)


class PixelsBackwardInput:
    """A plan for the gradient of the input, NHWC: from (N, P, Q, K) to (N, H, W, C).  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        planes = transposed(problem)
        (top, _), (left, _) = planes.padding
        self.tile = tile or tile_for(planes, TILES)
        self.width, self.depth = planes.K // planes.groups, planes.depth
        rows, _, pitch, grain = frame_shape(planes)
        left = -(-left // grain) * grain
        self.tables = offset_table(planes, rows, 1, pitch, grain), strip_table(planes, 1, pitch, self.tile)
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), problem.N))
        self.extents = problem.N, problem.groups, problem.K, problem.P, problem.Q, top, left, rows, pitch, problem.C
        self.shape = self.width, problem.H * problem.W, strips_of_run(planes, self.tile)
        # A last vector may reach past the last row of the frame.
        sizes = problem.K * rows * pitch + self.tile.lanes, problem.C * problem.H * problem.W
        self.buffers = tuple(workspace(self.threads, size, problem.dtype) for size in sizes)
        self.zeros = np.zeros(problem.groups * -(-self.width // self.tile.rows) * self.tile.rows, problem.dtype)
        self.workspace_bytes = sum(buffer.nbytes for buffer in self.buffers)

    def pack(self, weight, packed=None):
        """Panels of the weight (R, S, C / groups, K), of any strides, turned by 180 degrees, its channels exchanged."""
        problem, groups = self.problem, self.problem.groups
        if packed is None:
            packed = aligned(self.zeros.size * self.depth + self.tile.lanes, problem.dtype)
        in_groups = weight[::-1, ::-1].reshape(problem.R, problem.S, self.width, groups, problem.K // groups)
        turned = np.ascontiguousarray(in_groups.transpose(3, 2, 4, 0, 1)).reshape(-1)
        pack_weights(self.tile, turned, (self.depth, 1), groups, self.width, self.depth, packed)
        return packed

    def __call__(self, grad_output, packed, out):
        """Write the gradient (N, H, W, C) for the gradient (N, P, Q, K) of the output into ``out``; all C-contiguous."""
        operands = grad_output.reshape(-1), packed, self.zeros, out.reshape(-1)
        convolve_transposed(self.tile, self.tables, self.extents, self.shape, operands, self.buffers, self.threads)
        return out


def exceed(problem):
    """Whether results are written past the caches."""
    if far_caches():
        return prod(problem.out_shape) * np.dtype(problem.dtype).itemsize > FAR_SHARE * caches().level2
    return exceed_caches(problem)


def backward_input(problem, threads=1, tile=None):
    """The plan for the gradient of the input in the layout of ``problem``."""
    return (PlanesBackwardInput if problem.layout == "NCHW" else PixelsBackwardInput)(problem, threads, tile)


def transposed(problem):
    """The convolution, NCHW and without a stride, that computes the gradient of the input."""
    sizes = problem.N, problem.K, problem.P, problem.Q, problem.C, problem.R, problem.S
    return Conv(*sizes, (1, 1), borders(problem), problem.dilation, problem.groups, problem.dtype)


def borders(problem):
    """What the gradient's image is padded with, so that every pixel of the input meets all taps."""
    reaches = (gap * (taps - 1) for gap, taps in zip(problem.dilation, (problem.R, problem.S), strict=True))
    return tuple(
        (reach - before, size + before - outputs)
        for reach, (before, _), size, outputs in zip(
            reaches, problem.padding, (problem.H, problem.W), (problem.P, problem.Q), strict=True
        )
    )


def refuses_transpose(problem):
    """Why it cannot compute the gradient of the input."""
    if problem.stride != (1, 1):
        return ("it takes no stride",)
    if min(map(min, borders(problem))) < 0:
        return ("the padding is wider than the window reaches",)
    return ()


FEW_INPUTS, MANY_OUTPUTS = 4, 64
"""Channels: a gradient is loaded once for every tap, and each time meets too few of the input.

Measured on one thread, in units of ``col2im``: n4 c3 224x224 k64 3x3 1.8, in NCHW 1.2; n8 c4 128x128 k64 3x3 1.6 and 1.2;
n8 c1 50x50 k169 3x3 2.2 and 1.6; n3 c5 43x43 k217 5x5 1.0; n16 c3 64x64 k32 3x3 1.1 and 0.9.
"""


def declines_transpose(problem):
    """Why another kernel should compute the gradient of the input."""
    loads_most = problem.groups == 1 and problem.C <= FEW_INPUTS and problem.K >= MANY_OUTPUTS
    return ("loads take most of the time: few input channels, many output channels",) if loads_most else ()
