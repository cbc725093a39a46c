"""Direct convolution for few channels: lanes over pixels, the image where it is, NCHW in and out.

    out[k, pixel] = sum over (c, r, s) of weight[k, (c, r, s)] * framed[start[pixel] + offset[c, r, s]]

The weights are the rows of A, packed; a row of B is the image itself, in a frame of zeros, read ``offset`` further on.
Nothing is gathered.  Dilation is another table of offsets.  With a stride the columns of the frame are sorted by phase (x mod
stride), so that neighbours in the output are neighbours in memory and one vector load still brings ``lanes`` pixels.

Sources: Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures", 2018; Dukhan, "The
Indirect Convolution Algorithm", 2019, for the table.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.pack import pack
from ..cpu.places import columns_at, strips
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import load_alternate, load_first, store_first
from ..cpu.tile import Tile, add_tile, load_tile, pointer, rank1, rectify, spread_rows, store_tile
from ..cpu.workspace import aligned, workspace
from .frame_cpu import flat

TILES = (8, 3), (11, 2), (6, 4), (6, 2), (4, 3)
"""(rows, vectors) that keep both multipliers busy."""


@inlined
def copy_phase(tile, source, step, count, target):
    """target[t] = source[t * step] for t < count: one phase of a row."""
    if step == 1:
        for t in range(0, count, tile.lanes):
            store_first(target + t, load_first(source + t, count - t), count - t)
    elif step == 2:
        for t in range(0, count, tile.lanes):
            store_first(target + t, load_alternate(source + 2 * t, count - t), count - t)
    else:
        for t in range(count):
            target[t] = source[t * step]


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


@jit
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
        self.tile = tile or tile_for(problem)
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


def frame_shape(problem):
    """(rows, phases, columns of a phase) of an image in its frame."""
    rows = problem.H + sum(problem.padding[0])
    return rows, problem.stride[1], -(-(problem.W + sum(problem.padding[1])) // problem.stride[1])


def offset_table(problem, rows, phases, pitch):
    """offset[group, (c, r, s)]: elements from a pixel's start in the frame to its factor (c, r, s)."""
    c, r, s = np.ogrid[: problem.C, : problem.R, : problem.S]
    y, x = r * problem.dilation[0], s * problem.dilation[1]
    offsets = ((c * rows + y) * phases + x % phases) * pitch + x // phases
    return offsets.reshape(problem.groups, problem.depth).astype(np.intp)


def strip_table(problem, phases, pitch, tile):
    """(strips, 3, vectors): each vector's start in the frame, its place in the output image, its pixels.

    Vectors do not cross rows of the output; what is missing in the last strip has no pixels.
    """
    p, q = (axis.ravel() for axis in np.mgrid[: problem.P, : problem.Q : tile.lanes])
    vectors = np.zeros((3, -(-p.size // tile.vectors) * tile.vectors), np.intp)
    vectors[:, : p.size] = (
        p * problem.stride[0] * phases * pitch + q,
        p * problem.Q + q,
        np.minimum(tile.lanes, problem.Q - q),
    )
    return np.ascontiguousarray(vectors.reshape(3, -1, tile.vectors).swapaxes(0, 1))


def tile_for(problem):
    """The tile that computes the fewest sums that nobody asked for."""
    K, lanes = problem.K // problem.groups, Tile(1, 1, problem.dtype).lanes
    vectors = problem.P * -(-problem.Q // lanes)
    possible = [shape for shape in TILES if Tile(*shape, problem.dtype).fits()]
    best = min(possible, key=lambda tile: -(-K // tile[0]) * tile[0] * -(-vectors // tile[1]) * tile[1])
    return Tile(*best, problem.dtype)


FEW_CHANNELS = 8
"""Up to so many input channels it beats the kernels with lanes over channels, for images in NCHW that they must convert.

Rows "n64 c8 … 5x5", "c12" and "c16" of benchmarks/results/crossovers.json: with more the margin is gone.
"""

MOST_DEPTH = 400
"""About the deepest sum with which it was seen to win: row "n4 c3 224x224 k64 11x11 s4 p2" has 363 terms."""


def declines(problem):
    """Why another kernel should compute ``problem``."""
    if problem.layout != "NCHW":
        return ("the images are NHWC",)
    if problem.C // problem.groups > FEW_CHANNELS or problem.depth > MOST_DEPTH:
        return (f"more than {FEW_CHANNELS} input channels or {MOST_DEPTH} terms in a sum: lanes over channels are faster",)
    return ()
