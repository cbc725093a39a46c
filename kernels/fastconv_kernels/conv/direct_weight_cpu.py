"""Gradient of the weight for groups of few channels, as depthwise: lanes over pixels, the planes where they are (NCHW).

    grad_weight[k, (c, r, s)] = sum over images and pixels of grad[k, pixel] * framed[start[pixel] + offset[c, r, s]]

A tile has a row for each of a few taps and one vector of sums, whose lanes are added at the very end.  A vector of gradients
is loaded once and meets the group's planes, in their frame of zeros (``strips``), at all taps of the tile.

Source: Zhang, Lo & Lu, "High Performance Depthwise and Pointwise Convolutions on Mobile Devices", 2020.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.places import block, columns, rows_at
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.sums import GRAIN, add_lanes
from ..cpu.tile import Tile, load_tile, pointer, store_tile
from ..cpu.tile_rows import along
from ..cpu.workspace import workspace
from .frame_cpu import ask_for, clear, frame_planes
from .strips import frame_shape, offset_table

TAPS = 14
"""The most in a tile: their sums and a vector of each image fill half of the registers, their addresses all others."""

PARTS = 16
"""Into so many the images are cut if there are few groups, whatever the number of threads."""


@inlined
def add_plane(tile, offsets, depth, framed, down, extent, gradient, sums, ahead):
    """sums[t] + gradient * the frame at tap t, lane by lane, for all taps and pixels of a plane of gradients.

    offsets: a table of ``depth`` entries; down: from one row of pixels to the next in the frame; extent: (P, Q)
    ahead: (planes, elements, gradients, elements) that come next
    """
    P, Q = extent
    for t in range(0, depth, tile.rows):
        taps = rows_at(tile, framed, offsets + t, depth - t)
        place = block(tile, sums + t * tile.lanes, tile.lanes, depth - t, tile.lanes)
        total = load_tile(tile, place)
        for p in range(P):
            if t == 0:
                ask_for(tile, ahead[0], ahead[1], p, P)
                ask_for(tile, ahead[2], ahead[3], p, P)
            for q in range(0, Q, tile.lanes):
                total = along(total, taps + (p * down + q), columns(tile, gradient + (p * Q + q), Q - q))
        store_tile(total, place)


@jit
def add_share(tile, offsets, extents, frame, operands, frames, sums, thread, threads):
    """The parts of the images, and groups, that are this thread's.

    frame: (top, left) padding, ``frame_shape``, from one row of gradients to the next in the frame
    """
    grad_output, x = operands
    images, groups, parts, channels, H, W, width, P, Q = extents
    top, left, down = frame[0], frame[1], frame[6]
    plane, outputs = channels * H * W, width * P * Q
    framed, table = pointer(tile, frames, thread * frames.shape[1]), pointer(tile, offsets, 0)
    gradients, planes, totals = pointer(tile, grad_output, 0), pointer(tile, x, 0), pointer(tile, sums, 0)
    depth, size = offsets.size, offsets.size * tile.lanes
    first_task, end_task = share(thread, threads, parts * groups)
    for task in range(first_task, end_task):
        part, g = task // groups, task % groups
        own = totals + task * width * size
        clear(tile, own, width * size)
        first, end = share(part, parts, images)
        for n in range(first, end):
            source, gradient = planes + (n * groups + g) * plane, gradients + (n * groups + g) * outputs
            frame_planes(tile, source, (channels, H, W), (-top, -left), frame[2:6], framed, False)
            for k in range(width):
                own_gradient = gradient + k * P * Q
                ahead = source + groups * plane, plane if k == 0 else 0, own_gradient + groups * outputs, P * Q
                add_plane(tile, table, depth, framed, down, (P, Q), own_gradient, own + k * size, ahead)


@threaded
def add_all(tile, offsets, extents, frame, operands, frames, sums, threads):
    for thread in prange(threads):
        add_share(tile, offsets, extents, frame, operands, frames, sums, np.intp(thread), threads)


class BackwardWeight:
    """A plan for the gradient with respect to the weight (K, C / groups, R, S).  One call at a time."""

    def __init__(self, problem, threads=1):
        self.problem = problem
        tiles = -(-problem.depth // TAPS)
        self.tile = Tile(-(-problem.depth // tiles), 1, problem.dtype)
        shape = rows, phases, pitch, _ = frame_shape(problem)
        self.offsets = offset_table(problem, *shape)
        channels, width = problem.C // problem.groups, problem.K // problem.groups
        parts = max(1, min(problem.N, -(-PARTS // problem.groups)))
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), parts * problem.groups))
        image, gradient = (channels, problem.H, problem.W), (width, problem.P, problem.Q)
        self.extents = problem.N, problem.groups, parts, *image, *gradient
        (top, _), (left, _) = problem.padding
        self.frame = top, left, *shape, problem.stride[0] * phases * pitch
        # A last vector may reach past the last row of the frame.
        self.frames = workspace(self.threads, channels * rows * phases * pitch + self.tile.lanes, problem.dtype)
        self.sums = np.zeros((parts, problem.K * problem.depth * self.tile.lanes), problem.dtype)
        self.workspace_bytes = self.frames.nbytes + self.sums.nbytes

    def __call__(self, grad_output, x, out):
        """Write the gradient (K, C / groups, R, S) into ``out``, for grad_output (N, K, P, Q) and x (N, C, H, W)."""
        operands = grad_output.reshape(-1), x.reshape(-1)
        add_all(self.tile, self.offsets, self.extents, self.frame, operands, self.frames, self.sums, self.threads)
        add_lanes(self.tile, self.sums, out.reshape(-1), threads_for(self.threads, self.sums.size, GRAIN))
        return out
