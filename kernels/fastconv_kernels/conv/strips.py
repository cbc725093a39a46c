"""Strips and offsets: what a kernel with lanes over the pixels of planes (NCHW) reads.

A *strip* is as many vectors of output pixels as a register tile is wide; vectors do not cross rows.  With a stride the columns
of the frame are sorted by phase (x mod stride), so that neighbours in the output are neighbours in memory.  A *band* is as
many rows of outputs as are framed at a time, a *run* as many strips of it as all tiles of channels meet before the next.
"""

from math import gcd, prod

import numpy as np

from ..cpu.tile import Tile
from ..cpu.workspace import caches, even

WIDE = 4
"""Vectors of a phase of a row, from which on the room is given that aligns its first pixel."""

RUN_SHARE = 0.25
"""Of the first cache for the pixels of a run of strips, which the tiles of all output channels meet in turn.

A tile so writes runs of its planes, not a vector of each plane after the other, which no cache foresees and where planes are
a multiple of 4096 bytes apart all are in one set: on a Granite Rapids one image, c3 224x224 k64 3x3, took 0.7 times as long.
"""

FRAME_SHARE = 0.25
"""Of the second cache for the frame of a band, where the first is too small."""

MOST_COPIED = 1.25
"""Rows of a band's frame, of those that are its own: the others are copied for the next band again."""

BANDS = 4
"""For each thread, where there are not as many images for each: so many that it hardly matters whose is the last."""


def frame_shape(problem):
    """(rows, phases, columns of a phase, grain) of an image in its frame.

    In every phase the first pixel of a row is a multiple of ``grain`` elements from the row's start.  Wide rows are so
    aligned to vectors: on a Granite Rapids filling a frame whose vectors were stored across two lines took twice as long.
    """
    columns, lanes = -(-(problem.W + sum(problem.padding[1])) // problem.stride[1]), Tile(1, 1, problem.dtype).lanes
    grain = lanes if columns >= WIDE * lanes else 1
    pitch = -(-(columns + grain - 1) // grain) * grain
    return problem.H + sum(problem.padding[0]), problem.stride[1], pitch, grain


def offset_table(problem, rows, phases, pitch, grain):
    """offset[(c, r, s)]: elements from a pixel's start in the frame of a group's planes to its factor (c, r, s)."""
    c, r, s = np.ogrid[: problem.C // problem.groups, : problem.R, : problem.S]
    y, x = r * problem.dilation[0], s * problem.dilation[1]
    border = -(-(problem.padding[1][0] - np.arange(phases)) // phases)  # of each phase: what stands before its first pixel
    offsets = ((c * rows + y) * phases + x % phases) * pitch + (-border % grain)[x % phases] + x // phases
    return offsets.reshape(-1).astype(np.intp)


def band_rows(problem, tile, threads, phases, pitch):
    """(rows of the output, rows of the frame) of a *band*: as much of an image as is in the frame at a time.

    A frame in the first cache is filled without the second's help and meanwhile the next rows come from memory.  Where
    windows overlap so much that rows would be copied often, a frame in the second is taken, or the whole image.  A band is
    a whole number of strips.
    """
    vectors, images = -(-problem.Q // tile.lanes), problem.N * problem.groups
    unit = tile.vectors // gcd(vectors, tile.vectors)
    down, reach = problem.stride[0], problem.dilation[0] * (problem.R - 1) + 1
    line = problem.C // problem.groups * phases * pitch * tile.itemsize
    limit = problem.P + unit if images % threads == 0 else problem.P // (threads * BANDS)
    for space in caches().level1, caches().level2 * FRAME_SHARE:
        rows = min(problem.P, even(problem.P, min((int(space) // line - reach) // down + 1, limit), unit))
        framed = (rows - 1) * down + reach
        if framed * line <= space and (rows == problem.P or framed <= MOST_COPIED * rows * down):
            return rows, framed
    rows = problem.P if images % threads == 0 else min(problem.P, -(-problem.P // (threads * unit)) * unit)
    return rows, (rows - 1) * down + reach


def strips_of_run(problem, tile):
    """How many strips a tile of output channels meets before the next one does."""
    strip = problem.C // problem.groups * prod(problem.stride) * tile.columns * tile.itemsize
    return max(1, int(caches().level1 * RUN_SHARE) // strip)


def strip_table(problem, phases, pitch, tile, rows=None):
    """(strips, 3, vectors): each vector's start in the frame, its place in the output image, its pixels.

    rows: of the output, that the frame is for, one band after the other; None: all.  What is missing in the last strip has no
    pixels.
    """
    p, q = (axis.ravel() for axis in np.mgrid[: problem.P, : problem.Q : tile.lanes])
    vectors = np.zeros((3, -(-p.size // tile.vectors) * tile.vectors), np.intp)
    vectors[:, : p.size] = (
        p % (rows or problem.P) * problem.stride[0] * phases * pitch + q,
        p * problem.Q + q,
        np.minimum(tile.lanes, problem.Q - q),
    )
    return np.ascontiguousarray(vectors.reshape(3, -1, tile.vectors).swapaxes(0, 1))


def tile_for(problem, shapes):
    """The tile of ``shapes``, (rows, vectors), that takes least time for all channels and pixels, in cycles of a tap.

    A cycle has two multiply-adds of vectors, and two loads of which a vector of pixels takes both: it seldom lies in one line.
    """
    K, lanes = problem.K // problem.groups, Tile(1, 1, problem.dtype).lanes
    count = problem.P * -(-problem.Q // lanes)

    def cycles(shape):
        rows, vectors = shape
        return -(-K // rows) * -(-count // vectors) * max(rows * vectors / 2, vectors + rows / 2)

    return Tile(*min((shape for shape in shapes if Tile(*shape, problem.dtype).fits()), key=cycles), problem.dtype)
