"""Direct convolution for few channels: lanes over pixels, the image where it is, NCHW in and out.

    out[k, pixel] = sum over (c, r, s) of weight[k, (c, r, s)] * framed[start[pixel] + offset[c, r, s]]

The weights are the rows of A, packed; a row of B is the image itself, in a frame of zeros, read ``offset`` further on.
Nothing is gathered.  Dilation is another table of offsets.  With a stride the columns of the frame are sorted by phase (x mod
stride), so that neighbours in the output are neighbours in memory and one vector load still brings ``lanes`` pixels.

The gradient of the input is the same with the weights turned by 180 degrees.  It is NHWC, and transposed in registers on its
way into the frame and back.

Sources: Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures", 2018; Dukhan, "The
Indirect Convolution Algorithm", 2019, for the table.
"""

import numpy as np
from numba import prange

from ..cpu.compile import jit, serial, threaded
from ..cpu.pack import pack, square, transpose
from ..cpu.places import block, columns_at, strips
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.tile import add_tile, load_tile, pointer, rank1, rectify, spread_rows, store_tile
from ..cpu.workspace import aligned, workspace
from ..problems import Conv
from .frame_cpu import copy_phase, flat
from .strips import frame_shape, offset_table, strip_table, tile_for

TILES = (8, 3), (11, 2), (6, 4), (6, 2), (4, 3)
"""(rows, vectors) that keep both multipliers busy."""


@jit
def frame_image(tile, image, extent, padding, shape, framed):
    """framed[c, y, phase, t] = image[c, y - top, t * phases + phase - left]; the border is zero already.

    extent: (C, H, W) of the image; padding: (top, left); shape: (rows, phases, columns of a phase) of the frame
    """
    C, H, W = extent
    top, left = padding
    rows, phases, pitch = shape
    for phase in range(phases):
        first = max(0, (left - phase + phases - 1) // phases)  # the first t that is not border
        column = first * phases + phase - left
        count = (W - column + phases - 1) // phases
        for c in range(C):
            for y in range(H):
                target = framed + (((c * rows + y + top) * phases + phase) * pitch + first)
                copy_phase(tile, image + ((c * H + y) * W + column), phases, count, target)


@jit
def convolve_strips(tile, panels, tables, shape, framed, epilogue, first, end, out):
    """The strips ``first`` … ``end`` of one image: for each group and tile of output channels the sum over (c, r, s).

    tables: offsets (groups, depth) and places (strips, 3, vectors); shape: (K / groups, pixels); framed, out: pointers
    epilogue: (bias of all tiles, residual, adds, rectifies)
    """
    offsets, places = tables
    width, pixels = shape
    bias, residual, adds, rectifies = epilogue
    groups, depth = offsets.shape
    mr = tile.rows
    tiles = (width + mr - 1) // mr
    for g in range(groups):
        for strip in range(first, end):
            starts = pointer(tile, places, strip * 3 * tile.vectors)
            targets, counts = starts + tile.vectors, starts + 2 * tile.vectors
            b = columns_at(tile, framed, starts, counts)
            for i in range(tiles):
                a = panels + (g * tiles + i) * depth * mr
                channel, rows = (g * width + i * mr) * pixels, width - i * mr
                total = spread_rows(tile, bias + (g * tiles + i) * mr)
                for k in range(depth):
                    total = rank1(total, a + k * mr, b + offsets[g, k])
                if adds:
                    total = add_tile(total, load_tile(tile, strips(tile, residual + channel, pixels, rows, targets, counts)))
                if rectifies:
                    total = rectify(total)
                store_tile(total, strips(tile, out + channel, pixels, rows, targets, counts))


@jit
def convolve_share(tile, tables, extents, shape, operands, flags, frames, thread, threads):
    """The images, or the pieces of images, that are this thread's."""
    x, panels, bias, residual, out = operands
    images, pieces, C, H, W, top, left, rows, phases, pitch = extents
    size = tables[0].shape[0] * shape[0] * shape[1]
    framed = pointer(tile, frames, thread * frames.shape[1])
    first_task, end_task = share(thread, threads, images * pieces)
    for task in range(first_task, end_task):
        n, piece = task // pieces, task % pieces
        frame_image(tile, pointer(tile, x, n * C * H * W), (C, H, W), (top, left), (rows, phases, pitch), framed)
        epilogue = pointer(tile, bias, 0), pointer(tile, residual, n * size), flags[0], flags[1]
        first, end = share(piece, pieces, tables[1].shape[0])
        weights, result = pointer(tile, panels, 0), pointer(tile, out, n * size)
        convolve_strips(tile, weights, tables, shape, framed, epilogue, first, end, result)


@threaded
def convolve(tile, tables, extents, shape, operands, flags, frames, threads):
    for thread in prange(threads):
        convolve_share(tile, tables, extents, shape, operands, flags, frames, np.intp(thread), threads)


@serial
def pack_weights(tile, weight, strides, groups, width, depth, panels):
    """panels[g, i, depth, row] = weight[g * width + i * rows + row, depth]; strides: (row, depth) of ``weight``."""
    tiles = (width + tile.rows - 1) // tile.rows
    for g in range(groups):
        for i in range(tiles):
            source = pointer(tile, weight, (g * width + i * tile.rows) * strides[0])
            target = pointer(tile, panels, (g * tiles + i) * depth * tile.rows)
            pack(tile, tile.rows, source, strides[0], strides[1], min(tile.rows, width - i * tile.rows), depth, target)


class Forward:
    """A plan for the convolution of NCHW images of one shape.  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        self.tile = tile or tile_for(problem, TILES)
        self.width = problem.K // problem.groups
        self.tiles = -(-self.width // self.tile.rows)
        rows, phases, pitch = frame_shape(problem)
        self.tables = offset_table(problem, rows, phases, pitch), strip_table(problem, phases, pitch, self.tile)
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        pieces = 1 if threads <= problem.N else min(threads, len(self.tables[1]))
        self.threads = max(1, min(threads, problem.N * pieces))
        (top, _), (left, _) = problem.padding
        self.extents = problem.N, pieces, problem.C, problem.H, problem.W, top, left, rows, phases, pitch
        # A last vector may reach past the last row of the frame.
        self.frames = workspace(self.threads, problem.C * rows * phases * pitch + self.tile.lanes, problem.dtype)
        self.bias = np.zeros((problem.groups, self.tiles * self.tile.rows), problem.dtype)
        self.no_bias = np.zeros_like(self.bias)
        self.workspace_bytes = self.frames.nbytes

    def pack(self, weight, packed=None):
        """Panels of the weight (K, C / groups, R, S), of any strides."""
        problem = self.problem
        if packed is None:
            packed = aligned(self.bias.size * problem.depth + self.tile.lanes, problem.dtype)
        line, strides = flat(weight if weight[0].flags.c_contiguous else np.ascontiguousarray(weight))
        pack_weights(self.tile, line, (strides[0], 1), problem.groups, self.width, problem.depth, packed)
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
        shape = self.width, self.problem.P * self.problem.Q
        flags = residual is not None, activation == "relu"
        convolve(self.tile, self.tables, self.extents, shape, operands, flags, self.frames, self.threads)
        return out


@jit
def turn(tile, source, pitch, rows, columns, target, target_pitch):
    """target[j, i] = source[i, j] for ``rows`` x ``columns`` elements; pitches: from row to row."""
    piece = square(tile)
    for i in range(0, rows, tile.lanes):
        for j in range(0, columns, tile.lanes):
            part = load_tile(piece, block(piece, source + (i * pitch + j), pitch, rows - i, columns - j))
            place = block(piece, target + (j * target_pitch + i), target_pitch, columns - j, rows - i)
            store_tile(transpose(part), place)


@jit
def transpose_share(tile, tables, extents, shape, operands, buffers, thread, threads):
    """The images that are this thread's: gradient to planes in a frame, convolved to planes, those to pixels."""
    grad, panels, zeros, out = operands
    images, K, P, Q, top, left, rows, pitch, C = extents
    size = shape[1]
    framed = pointer(tile, buffers[0], thread * buffers[0].shape[1])
    planes = pointer(tile, buffers[1], thread * buffers[1].shape[1])
    epilogue = pointer(tile, zeros, 0), planes, False, False
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    gradients, weights, results = pointer(tile, grad, 0), pointer(tile, panels, 0), pointer(tile, out, 0)
    count = tables[1].shape[0]
    first, end = share(thread, threads, images)
    for n in range(first, end):
        for y in range(P):
            turn(tile, gradients + (n * P + y) * Q * K, K, Q, K, framed + ((y + top) * pitch + left), rows * pitch)
        convolve_strips(tile, weights, tables, shape, framed, epilogue, 0, count, planes)
        turn(tile, planes, size, C, size, results + n * size * C, C)


@threaded
def convolve_transposed(tile, tables, extents, shape, operands, buffers, threads):
    for thread in prange(threads):
        transpose_share(tile, tables, extents, shape, operands, buffers, np.intp(thread), threads)


class BackwardInput:
    """A plan for the gradient of the input, NHWC: from (N, P, Q, K) to (N, H, W, C).  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        (top, bottom), (left, right) = borders(problem)
        planes = Conv(
            *(problem.N, problem.K, problem.P, problem.Q, problem.C, problem.R, problem.S, (1, 1)),
            *(((top, bottom), (left, right)), problem.dilation, problem.groups, problem.dtype),
        )
        self.tile = tile or tile_for(planes, TILES)
        self.width, self.depth = planes.K // planes.groups, planes.depth
        rows, _, pitch = frame_shape(planes)
        self.tables = offset_table(planes, rows, 1, pitch), strip_table(planes, 1, pitch, self.tile)
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), problem.N))
        self.extents = problem.N, problem.K, problem.P, problem.Q, top, left, rows, pitch, problem.C
        self.shape = self.width, problem.H * problem.W
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
