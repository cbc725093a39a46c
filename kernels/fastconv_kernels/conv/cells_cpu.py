"""Images whose phases are channels: what Winograd's algorithm reads where a window moves by more than a pixel.

A *cell* is s x s pixels of C channels, s the stride: a pixel of depth s² C, whose numbers are in the order of its rows,
columns and channels.  On cells a window moves by 1 and has ceil(r / s) taps on a side.
"""

from typing import NamedTuple

import numpy as np

from ..cpu.compile import jit
from ..cpu.transform import transform_patch
from .frame_cpu import frame_band
from .patches_cpu import Points, corner, in_row
from .planes_cpu import frame_planes


class Cells(NamedTuple):
    """How images are cut into cells.

    stride : pixels on a side of a cell
    width : pixels in a row of the frame, which holds what a row of patches reads
    planes : whether the images are planes, NCHW
    """

    stride: int
    width: int
    planes: bool


def taps_of(problem):
    """Taps on a side of a window of cells, the longer one."""
    return -(-max(problem.R, problem.S) // problem.stride[0])


def cells_for(problem, across, step, reach):
    """The ``Cells`` for ``across`` patches of ``reach`` cells, ``step`` cells apart, in a row."""
    stride = problem.stride[0]
    return Cells(stride, ((across - 1) * step + reach) * stride, problem.layout == "NCHW")


def by_cells(problem, weight, unfolded):
    """The pieces of a weight (R, S, C, K) that are the taps of one cell, with their places in (taps, taps, s, s, C, K)."""
    stride = problem.stride[0]
    for i, j in np.ndindex(unfolded.shape[:2]):
        piece = weight[i * stride : (i + 1) * stride, j * stride : (j + 1) * stride]
        yield piece, unfolded[i, j, : piece.shape[0], : piece.shape[1]]


@jit
def transform_line(tile, transform, frame, pitch, run, cut, first, end, points):
    """Transform the patches ``first`` … ``end`` of a row of patches from its frame to ``points``.

    pitch, run: elements in a row of the frame, and in one of a cell; cut: (stride, cells from one patch to the next)
    """
    stride, step = cut
    strides = stride * pitch, run
    for t in range(first, end):
        target = points.base + (t - first) * points.row
        for e in range(stride):  # whole vectors, of which the next row of a cell overwrites what is too much
            for c in range(0, run, tile.lanes):
                source = frame + (e * pitch + t * step * run + c)
                transform_patch(transform, source, strides, None, run - c, target + (e * run + c), points.point)


@jit
def transform_cells(tile, transform, images, patches, cells, frame, framed, points, first, end):
    """points[point, t - first, (e, f, c)] = transform of every patch of cells t of ``first`` … ``end``.

    patches: in pixels; frame: for the pixels of a row of patches, zeros at first; framed: the row of patches that it holds

    Returns which it holds in the end.
    """
    stride, channels, t = cells.stride, patches.channels, first
    extent, height = (patches.rows, patches.columns, channels), transform.inputs * stride
    while t < end:
        count, line = in_row(patches, t, end), t // patches.across
        if line != framed:
            n, top, _ = corner(patches, t)
            image = images + n * patches.rows * patches.columns * channels
            if cells.planes:
                frame_planes(tile, image, extent, top, patches.left, height, cells.width, frame)
            else:
                frame_band(tile, image, extent, top, patches.left, height, cells.width, frame)
            framed = line
        those, column = Points(points.base + (t - first) * points.row, points.point, points.row), t - line * patches.across
        cut, end_column = (stride, patches.step // stride), column + count
        transform_line(tile, transform, frame, cells.width * channels, stride * channels, cut, column, end_column, those)
        t += count
    return framed
