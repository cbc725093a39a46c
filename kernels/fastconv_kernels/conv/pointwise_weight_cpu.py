"""Gradient of the weight of a 1x1 convolution of planes, NCHW: a product of matrices whose sum runs over pixels.

    grad_weight (K x C) = sum over n of grad[n] (K x pixels) @ x[n].T (pixels x C)

Both are packed a block of pixels at a time, transposed in registers: no image is converted, each plane is read once for a
block of channels, and the sums of a block are added to those of the blocks before.

Sources: Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008; Van Zee & van de Geijn, "BLIS", 2015.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.pack import pack
from ..cpu.places import block
from ..cpu.share import THREAD_FLOPS, share, stripe, threads_for
from ..cpu.simd import prefetch
from ..cpu.sums import add_parts
from ..cpu.tile import accumulate_packed, fitting, load_tile, pointer, store_tile, zero
from ..cpu.workspace import caches, even, workspace

TILES = (8, 3), (6, 4), (14, 2), (8, 2), (12, 1), (6, 2), (4, 3)
"""(rows, vectors) of the products."""

DEPTH = 256
"""The most pixels of a block: a panel of gradients of so many is in the nearest cache while it meets all panels of pixels."""

PARTS, SUMS_BYTES = 8, 1 << 20
"""Into so many parts the pixels are cut, whatever the number of threads, if the sums of all parts take no more bytes."""


class Sizes(NamedTuple):
    """groups, inputs, outputs : of channels; of a group each
    pixels, block, blocks : of an image, of a block, blocks of an image
    images, parts, stripes : parts of the images' blocks, and stripes of the outputs, that tasks are of
    """

    groups: int
    inputs: int
    outputs: int
    pixels: int
    block: int
    blocks: int
    images: int
    parts: int
    stripes: int


@inlined
def ask_for_rows(tile, source, pitch, first, end, length):
    """Bring rows ``first`` … ``end`` of ``length`` elements nearer: the processor does not foresee so many streams."""
    for row in range(first, end):
        for t in range(0, length, tile.lanes):
            prefetch(source + (row * pitch + t))


@jit
def add_block(tile, sizes, gradient, image, ahead, bounds, depth, panels, first, target):
    """target[k, c] + the products of ``depth`` pixels, for k within ``bounds``; it is written anew if it is the first block.

    ahead: the image where the next block begins
    """
    own, shared = panels
    inputs, pitch = sizes.inputs, sizes.pixels
    height = bounds[1] - bounds[0]
    for c in range(0, inputs, tile.columns):
        count = min(tile.columns, inputs - c)
        pack(tile, tile.columns, image + c * pitch, pitch, 1, count, depth, shared + c * depth)
    for k in range(bounds[0], bounds[1], tile.rows):
        pack(tile, tile.rows, gradient + k * pitch, pitch, 1, min(tile.rows, bounds[1] - k), depth, own)
        done, next_ = k - bounds[0], k + tile.rows
        ask_for_rows(tile, gradient, pitch, next_, min(next_ + tile.rows, bounds[1]), depth)
        ask_for_rows(tile, ahead, pitch, done * inputs // height, min(height, done + tile.rows) * inputs // height, depth)
        for c in range(0, inputs, tile.columns):
            place = block(tile, target + (k * inputs + c), inputs, bounds[1] - k, inputs - c)
            total = zero(tile)
            if not first:
                total = load_tile(tile, place)
            store_tile(accumulate_packed(tile, total, own, shared + c * depth, depth), place)


@jit
def add_share(tile, sizes, operands, buffers, thread, threads):
    """The parts and stripes that are this thread's."""
    grad_output, x, sums = operands
    inputs, outputs, pixels = sizes.inputs, sizes.outputs, sizes.pixels
    gradients, images, totals = pointer(tile, grad_output, 0), pointer(tile, x, 0), pointer(tile, sums, 0)
    panels = pointer(tile, buffers[0], thread * buffers[0].shape[1]), pointer(tile, buffers[1], thread * buffers[1].shape[1])
    first_task, end_task = share(thread, threads, sizes.parts * sizes.groups * sizes.stripes)
    for task in range(first_task, end_task):
        which, number = task // sizes.stripes, task % sizes.stripes
        part, g = which // sizes.groups, which % sizes.groups
        bounds = stripe(number, sizes.stripes, outputs, tile.rows)
        target = totals + which * outputs * inputs
        first, end = share(part, sizes.parts, sizes.images * sizes.blocks)
        for place in range(first, end):
            n, start = place // sizes.blocks * sizes.groups + g, place % sizes.blocks * sizes.block
            depth = min(sizes.block, pixels - start)
            gradient, image = gradients + (n * outputs * pixels + start), images + (n * inputs * pixels + start)
            last = start + depth == pixels
            ahead = images + (n + sizes.groups) * inputs * pixels if last else image + depth
            add_block(tile, sizes, gradient, image, ahead, bounds, depth, panels, place == first, target)


@threaded
def add_all(tile, sizes, operands, buffers, threads):
    for thread in prange(threads):
        add_share(tile, sizes, operands, buffers, np.intp(thread), threads)


class BackwardWeight:
    """A plan for the gradient with respect to the weight (K, C / groups, 1, 1).  One call at a time."""

    def __init__(self, problem, threads=1):
        self.problem = problem
        inputs, outputs, pixels = problem.C // problem.groups, problem.K // problem.groups, problem.H * problem.W
        self.tile = tile = fitting(TILES, inputs, problem.dtype, outputs)
        room = caches().level2 // 2 // (inputs * tile.itemsize)
        depth = even(pixels, max(tile.lanes, min(DEPTH, room)), tile.lanes)
        blocks = -(-pixels // depth)
        sums = problem.K * inputs
        parts = max(1, min(PARTS, problem.N * blocks, SUMS_BYTES // (sums * tile.itemsize)))
        parts = 1 << (parts.bit_length() - 1)  # a power of two, as there is of threads: of three parts one thread has two
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        # Each stripe packs the pixels anew; a sum is the same in any.
        stripes = max(1, min(-(-threads // (parts * problem.groups)), -(-outputs // tile.rows)))
        self.sizes = Sizes(problem.groups, inputs, outputs, pixels, depth, blocks, problem.N, parts, stripes)
        self.threads = max(1, min(threads, parts * problem.groups * stripes))
        across = -(-inputs // tile.columns) * tile.columns * depth
        self.buffers = tuple(workspace(self.threads, size + tile.lanes, problem.dtype) for size in (tile.rows * depth, across))
        self.sums = np.zeros((parts if parts > 1 else 0, sums), problem.dtype)
        self.workspace_bytes = sum(buffer.nbytes for buffer in self.buffers) + self.sums.nbytes

    def __call__(self, grad_output, x, out):
        """Write the gradient (K, C / groups, 1, 1) into ``out``, for grad_output (N, K, H, W) and x (N, C, H, W)."""
        if not out.size or not self.problem.N:
            out[...] = 0
            return out
        sums = self.sums if self.sizes.parts > 1 else out
        operands = grad_output.reshape(-1), x.reshape(-1), sums.reshape(-1)
        add_all(self.tile, self.sizes, operands, self.buffers, self.threads)
        if self.sizes.parts > 1:
            add_parts(self.sums, out.reshape(-1), self.threads)
        return out


def refuses(problem):
    """Why it cannot compute ``problem``."""
    if (problem.R, problem.S) != (1, 1) or any(map(any, problem.padding)):
        return ("the window is not 1x1, or it has padding",)
    return () if problem.stride == (1, 1) else ("it takes no stride",)
