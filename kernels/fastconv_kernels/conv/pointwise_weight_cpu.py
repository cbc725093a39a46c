"""Gradient of the weight of a 1x1 convolution of planes, NCHW: a product of matrices whose sum runs over pixels.

    grad_weight (K x C) = sum over n of grad[n] (K x pixels) @ x[n].T (pixels x C)

The operand with fewer channels is packed a block of pixels at a time, transposed in registers, and its channels are the lanes;
channels of the other are the rows of a tile, read in the planes where they are.  So the sums may be those of the transpose,
which is turned in the end.  No image is converted, and each plane is read once for a stripe of rows.  With a stride the input
is the one that is packed: the pixels that count are gathered first.

Sources: Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008; Van Zee & van de Geijn, "BLIS", 2015.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from ..cpu.accumulate import UNROLLED, accumulate_rows
from ..cpu.compile import inlined, jit, serial, threaded
from ..cpu.pack import pack
from ..cpu.places import block, panel, rows_apart
from ..cpu.share import THREAD_FLOPS, share, stripe, threads_for
from ..cpu.simd import prefetch
from ..cpu.sums import add_parts
from ..cpu.tile import fitting, load_tile, pointer, rank1, store_tile, zero
from ..cpu.workspace import caches, even, workspace
from .geometry import rows_read
from .planes_cpu import gather_steps, scatter_pixels

TILES = (8, 3), (8, 2), (6, 4), (10, 1), (6, 2), (4, 3)
"""(rows, vectors) of the products."""

DEPTH = 256
"""The most pixels of a block: a panel of so many is in the nearest cache while it meets the rows of a tile."""

PARTS, SUMS_BYTES = 8, 1 << 20
"""Into so many parts the pixels are cut, whatever the number of threads, if the sums of all parts take no more bytes."""

TURN_COST = 10
"""Multiply-adds in the time that it takes to pack one element, transposed."""


SPREAD, ASKED = 16, 8
"""Pixels of a line of memory, and planes that are asked for while a tile is computed, a line of two of them at a time.

All rows of the next tile at once, before it, took 1.02 to 1.23 times as long in 10 layers on a Granite Rapids: a burst of
requests stops it.
"""


class Sizes(NamedTuple):
    """What is multiplied; all lengths in elements.

    groups, rows, lanes : of channels; of a group each, of the operand that is read where it is, and of the packed one
    pixels, together, block, blocks : of a gradient; images of a block, pixels of each, blocks of an image
    plane, columns, down, across : of the packed operand: of an image, of a row, to the next row, to the next pixel
    images, parts, stripes : of the batch; parts of all blocks, and stripes of the rows, that tasks are of
    """

    groups: int
    rows: int
    lanes: int
    pixels: int
    together: int
    block: int
    blocks: int
    plane: int
    columns: int
    down: int
    across: int
    images: int
    parts: int
    stripes: int


@inlined
def products_asking(tile, total, rows, packed, depth, asked):
    """total + rows of pixels times a packed panel, while ASKED planes are asked for: four at once, and four ``further`` on.

    asked: (from where on, elements from one plane to the next, further)
    """
    ahead, pitch, further = asked
    quarter = depth // SPREAD * UNROLLED
    for piece in range(ASKED // 2):
        for k in range(piece * quarter, (piece + 1) * quarter, UNROLLED):
            prefetch(ahead)
            prefetch(ahead + further)
            ahead = ahead + SPREAD
            for step in range(UNROLLED):
                total = rank1(total, rows + (k + step), panel(tile, packed + (k + step) * tile.columns))
        ahead = ahead + (pitch - UNROLLED * quarter)
    whole = ASKED // 2 * quarter
    return accumulate_rows(tile, total, rows + whole, packed + whole * tile.columns, depth - whole)


@jit
def add_panel(tile, sizes, rows, count, packed, panel_size, extent, first, asked, place):
    """A tile of the sums, at ``place``, + the products of a block of pixels: ``count`` rows with a panel.

    asked: (whether planes are asked for, from where on, elements from one to the next, from one image to the next)
    """
    images, depth = extent
    jump, total = sizes.groups * sizes.rows * sizes.pixels, zero(tile)
    asks, ahead, pitch, further, leap = asked
    if not first:
        total = load_tile(tile, place)
    for n in range(images):
        own, panels = rows_apart(tile, rows + n * jump, sizes.pixels, count), packed + n * panel_size
        if asks:
            total = products_asking(tile, total, own, panels, depth, (ahead + n * leap, pitch, further))
        else:
            total = accumulate_rows(tile, total, own, panels, depth)
    store_tile(total, place)


@jit
def pack_block(tile, narrow, sizes, lanes, extent, panels):
    """Panels of the lanes' planes, for each some images; where there is a stride the pixels of a panel are gathered first."""
    images, begin, depth = extent
    width, plane, nr = sizes.lanes, sizes.plane, tile.columns
    walk, strip = (sizes.columns, sizes.down, sizes.across), panels + (width + nr) * images * depth
    for j in range(0, width, nr):
        columns, count = nr if width - j >= nr else narrow.columns, min(nr, width - j)
        for n in range(images):
            source, place = lanes + (n * sizes.groups * width + j) * plane, panels + (j * images + n * columns) * depth
            if plane > sizes.pixels:
                gather_steps(tile, source, plane, count, walk, begin, depth, strip, depth)
                pack(tile, columns, strip, depth, 1, count, depth, place)
            else:
                pack(tile, columns, source + begin, plane, 1, count, depth, place)


@jit
def add_block(tile, narrow, sizes, sources, bounds, extent, panels, first, target, following):
    """target[row, lane] + the products of a block, for rows within ``bounds``; it is written anew if it is the first block.

    sources, following: pointers to the rows' planes and the lanes', those of the next block from its first pixel on
    extent: (images, first pixel, pixels of each)

    The first panel of lanes asks for the rows of the next tile, the others for what the next block packs, once.
    """
    pack_block(tile, narrow, sizes, sources[1], extent, panels)
    images, begin, depth = extent
    rows, extent, width, pitch, nr = sources[0] + begin, (images, depth), sizes.lanes, sizes.pixels, tile.columns
    turn, together, onward, further = 0, ASKED, sizes.plane, ASKED // 2 * sizes.plane
    if sizes.plane > pitch:  # of a plane with a stride all rows are asked for
        together, onward, further = 2, depth // SPREAD * SPREAD, sizes.plane
    leap_rows, leap_lanes = sizes.groups * sizes.rows * pitch, sizes.groups * width * sizes.plane
    for r in range(bounds[0], bounds[1], tile.rows):
        count, next_ = bounds[1] - r, r + tile.rows
        near = rows + next_ * pitch if next_ < bounds[1] else following[0] + bounds[0] * pitch
        for j in range(0, width, nr):
            own, packed, start = rows + r * pitch, panels + j * images * depth, target + (r * width + j)
            asked = False, own, 0, 0, 0
            if j == 0:
                asked = True, near, pitch, ASKED // 2 * pitch, leap_rows
            elif turn < width:
                asked = True, following[1] + turn * sizes.plane, onward, further, leap_lanes
                turn += together
            if width - j >= nr:
                place = block(tile, start, width, count, width - j)
                add_panel(tile, sizes, own, count, packed, nr * depth, extent, first, asked, place)
            else:
                last = block(narrow, start, width, count, width - j)
                add_panel(narrow, sizes, own, count, packed, narrow.columns * depth, extent, first, asked, last)


@jit
def add_share(tile, narrow, sizes, operands, buffers, thread, threads):
    """The parts and stripes that are this thread's."""
    in_rows, in_lanes, sums = operands
    rows, lanes, pixels = sizes.rows, sizes.lanes, sizes.pixels
    row_planes, lane_planes, totals = pointer(tile, in_rows, 0), pointer(tile, in_lanes, 0), pointer(tile, sums, 0)
    panels = pointer(tile, buffers, thread * buffers.shape[1])
    first_task, end_task = share(thread, threads, sizes.parts * sizes.groups * sizes.stripes)
    for task in range(first_task, end_task):
        which, number = task // sizes.stripes, task % sizes.stripes
        part, g = which // sizes.groups, which % sizes.groups
        bounds, target = stripe(number, sizes.stripes, rows, tile.rows), totals + which * rows * lanes
        first, end = share(part, sizes.parts, (sizes.images + sizes.together - 1) // sizes.together * sizes.blocks)
        for place in range(first, end):
            n, start = place // sizes.blocks * sizes.together, place % sizes.blocks * sizes.block
            extent = min(sizes.together, sizes.images - n), start, min(sizes.block, pixels - start)
            group = n * sizes.groups + g
            sources = row_planes + group * rows * pixels, lane_planes + group * lanes * sizes.plane
            then = place + 1 if place + 1 < end else place
            n, start = then // sizes.blocks * sizes.together, then % sizes.blocks * sizes.block
            group = n * sizes.groups + g
            place_of = start // sizes.columns * sizes.down + start % sizes.columns * sizes.across
            following = row_planes + (group * rows * pixels + start), lane_planes + (group * lanes * sizes.plane + place_of)
            add_block(tile, narrow, sizes, sources, bounds, extent, panels, place == first, target, following)


@threaded
def add_all(tile, narrow, sizes, operands, buffers, threads):
    for thread in prange(threads):
        add_share(tile, narrow, sizes, operands, buffers, np.intp(thread), threads)


@serial
def turn(tile, sizes, sums, out):
    """out[g, lane, row] = sums[g, row, lane]."""
    for g in range(sizes.groups):
        start = g * sizes.rows * sizes.lanes
        source, target = pointer(tile, sums, start), pointer(tile, out, start)
        scatter_pixels(tile, source, sizes.lanes, sizes.rows, sizes.lanes, sizes.rows, (target, False, False), target)


class BackwardWeight:
    """A plan for the gradient with respect to the weight (K, C / groups, 1, 1).  One call at a time."""

    def __init__(self, problem, threads=1):
        self.problem = problem
        inputs, outputs, pixels = problem.C // problem.groups, problem.K // problem.groups, problem.P * problem.Q
        sides = [(False, outputs, inputs), (True, inputs, outputs)][: 2 if problem.stride == (1, 1) else 1]
        self.turned, rows, lanes = min(sides, key=lambda side: cost(*side[1:], problem.dtype))
        self.tile = tile = tile_for(rows, lanes, problem.dtype)
        self.narrow = tile.of_last(lanes)
        room = caches().level2 // 2 // (lanes * tile.itemsize)
        limit = max(tile.lanes, min(DEPTH, room))
        depth = even(pixels, limit, tile.lanes)
        blocks, sums = -(-pixels // depth), problem.K * inputs
        parts = max(1, min(PARTS, problem.N * blocks, SUMS_BYTES // (sums * tile.itemsize)))
        parts = 1 << (parts.bit_length() - 1)  # a power of two, as there is of threads: of three parts one thread has two
        together = even(-(-problem.N // parts), limit // pixels, 1) if blocks == 1 else 1
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        # Each stripe packs the pixels anew; a sum is the same in any.
        stripes = max(1, min(-(-threads // (parts * problem.groups)), -(-rows // tile.rows)))
        blocked = pixels, together, depth, blocks
        self.sizes = Sizes(problem.groups, rows, lanes, *blocked, *rows_read(problem), problem.N, parts, stripes)
        self.threads = max(1, min(threads, parts * problem.groups * stripes))
        # The panels, what packing writes beyond them, and a panel's pixels as they are gathered.
        room = (lanes + tile.columns) * depth * together + tile.lanes + tile.columns * depth
        self.buffers = workspace(self.threads, room, problem.dtype)
        self.sums = np.zeros((parts if parts > 1 or self.turned else 0, sums), problem.dtype)
        self.workspace_bytes = self.buffers.nbytes + self.sums.nbytes

    def __call__(self, grad_output, x, out):
        """Write the gradient (K, C / groups, 1, 1) into ``out``, for grad_output (N, K, H, W) and x (N, C, H, W)."""
        if not out.size or not self.problem.N:
            out[...] = 0
            return out
        whole = out.reshape(-1)
        sums = self.sums if len(self.sums) else whole
        sides = (x, grad_output) if self.turned else (grad_output, x)
        operands = sides[0].reshape(-1), sides[1].reshape(-1), sums.reshape(-1)
        add_all(self.tile, self.narrow, self.sizes, operands, self.buffers, self.threads)
        if self.sizes.parts > 1:
            add_parts(self.sums, self.sums[0] if self.turned else whole, self.threads)
        if self.turned:
            turn(self.tile, self.sizes, self.sums[0], whole)
        return out


def tile_for(rows, lanes, dtype):
    """The tile for so many channels of a group in rows and in lanes."""
    return fitting(TILES, lanes, dtype, rows, narrows=True)


def cost(rows, lanes, dtype):
    """Multiply-adds for a pixel, those of rows and lanes that no channel has included, and the time to pack."""
    tile = tile_for(rows, lanes, dtype)
    return -(-rows // tile.rows) * tile.rows * -(-lanes // tile.lanes) * tile.lanes + TURN_COST * lanes


def refuses(problem):
    """Why it cannot compute ``problem``."""
    if (problem.R, problem.S) != (1, 1) or any(map(any, problem.padding)):
        return ("the window is not 1x1, or it has padding",)
    return ()
