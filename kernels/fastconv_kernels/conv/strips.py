"""Strips and offsets: what a kernel with lanes over the pixels of planes (NCHW) reads.

A *strip* is as many vectors of output pixels as a register tile is wide; vectors do not cross rows.  With a stride the columns
of the frame are sorted by phase (x mod stride), so that neighbours in the output are neighbours in memory.
"""

import numpy as np

from ..cpu.tile import Tile


def frame_shape(problem):
    """(rows, phases, columns of a phase) of an image in its frame."""
    rows = problem.H + sum(problem.padding[0])
    return rows, problem.stride[1], -(-(problem.W + sum(problem.padding[1])) // problem.stride[1])


def offset_table(problem, rows, phases, pitch):
    """offset[(c, r, s)]: elements from a pixel's start in the frame of a group's planes to its factor (c, r, s)."""
    c, r, s = np.ogrid[: problem.C // problem.groups, : problem.R, : problem.S]
    y, x = r * problem.dilation[0], s * problem.dilation[1]
    offsets = ((c * rows + y) * phases + x % phases) * pitch + x // phases
    return offsets.reshape(-1).astype(np.intp)


def strip_table(problem, phases, pitch, tile):
    """(strips, 3, vectors): each vector's start in the frame, its place in the output image, its pixels.

    What is missing in the last strip has no pixels.
    """
    p, q = (axis.ravel() for axis in np.mgrid[: problem.P, : problem.Q : tile.lanes])
    vectors = np.zeros((3, -(-p.size // tile.vectors) * tile.vectors), np.intp)
    vectors[:, : p.size] = (
        p * problem.stride[0] * phases * pitch + q,
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
