"""Winograd's convolution of images of few channels, whose phases make the channels that they lack.

A window that moves by s pixels meets the pixels of one *phase*, those whose row is e and whose column is f modulo s, with
every s-th tap: a convolution of stride 1 with ceil(r / s) taps for each of s² phases, all of which add up to the result.
Phases are channels then: a *cell* of s x s pixels of C channels is one pixel of depth s² C, and

    V[point, patch, (e, f, c)] = Bᵀ d B      every n x n cells of the image, m apart, n = m + ceil(r / s) - 1
    U[point, (e, f, c), k] = G g Gᵀ          every phase of every filter, with zeros for taps beyond r
    M[point, patch, k] = V[point] @ U[point]
    out[m x m pixels] = Aᵀ M A + bias …

Of 3 channels a window of 11 x 11 with a stride of 4 needs 36 * 48 products for 16 outputs, 108 for one, the definition 363; a
window of 7 x 7 with a stride of 2 needs 49 * 12 products, 37 for one output instead of 147.

The depth is short, so that products are over soon and transforms count.  A row of a cell is s C numbers side by side, over
which lanes run, in a frame that holds the pixels of a row of patches, padded with zeros, of planes (NCHW) with channels last.
M of a block of patches stays in the second cache, and U, a few hundred kilobytes, with it.

A NaN or an infinity spreads over its patch; what it has spoilt is summed as the definition says (``spoilt_cpu``).

Sources: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016; Huang et al., "DWM: A Decomposable Winograd
Method for Convolution Acceleration", 2020, for the phases.
"""

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.tile import Tile, fitting, pointer, room, streamed
from ..cpu.transform import Scheme
from ..cpu.workspace import address_of, unwritten, workspace
from .cells_cpu import by_cells, cells_for, taps_of, transform_cells
from .patch_ends import cut_images
from .patches_cpu import ALL_MEET
from .spoilt_cpu import sum_marked
from .toom_cook import short
from .winograd_blocks import ceiling, keeps_filters, outputs_leave, sizes_for, streams
from .winograd_filters_cpu import pack_filters
from .winograd_stages_cpu import convolve_block, points_of, task_of

OUTPUTS = 4
"""On a side of a patch."""

TILES = (6, 4), (8, 2), (6, 2), (4, 3)
"""(rows, vectors) of the products."""

WIDEST = 64
"""Columns that a tile has at most: of output channels so many may be packed that do not exist."""

TAPS = range(2, 6)
"""Of a phase, on a side: those for which there are points."""

ACCURACY = 64.0
"""Factor on the bound of a plain sum, as for other patches of 4 x 4 outputs."""


def refuses(problem):
    """Why it cannot compute ``problem``."""
    against = []
    if len(set(problem.stride)) > 1:
        against.append("it takes the same stride in both directions")
    elif problem.stride == (1, 1):
        against.append("with a stride of 1 there is one phase")
    elif taps_of(problem) not in TAPS:
        against.append(f"a phase of the window has {taps_of(problem)} taps on a side, it takes {TAPS[0]} to {TAPS[-1]}")
    if problem.dilation != (1, 1):
        against.append("it takes no dilation")
    if problem.groups != 1:
        against.append("it takes no groups")
    filters = (OUTPUTS + taps_of(problem) - 1) ** 2 * problem.stride[0] ** 2 * problem.C * (problem.K + WIDEST)
    if not keeps_filters(filters * np.dtype(problem.dtype).itemsize):
        against.append("the transformed filters do not stay in the third cache")
    return tuple(against)


def meeting_table(problem, taps):
    """[tap, output row, 0]: the pixel of a patch, of whole cells, that meets the tap there; -1 where the window has no tap.

    Taps are in the order in which they are packed: by cells, and by rows and columns of a cell.
    """
    stride = problem.stride[0]
    reach = (OUTPUTS + taps - 1) * stride
    i, j, e, f, output = np.ogrid[:taps, :taps, :stride, :stride, :OUTPUTS]
    row, column = i * stride + e, j * stride + f
    table = np.where((row < problem.R) & (column < problem.S), (row + output * stride) * reach + column, -1)
    return np.ascontiguousarray(table.reshape(-1, OUTPUTS, 1), np.intp)


@jit
def convolve_share(tile, scheme, operands, flags, source, target, cells, sizes, buffers, staging, thread, threads):
    """What is this thread's: blocks of patches, each with a range of the panels, through the three stages."""
    nr, depth = tile.columns, cells.stride * cells.stride * source.channels
    images = pointer(tile, operands[0], 0)
    v, m = points_of(tile, buffers, sizes, thread)
    frame, framed, marked = pointer(tile, buffers[2], thread * buffers[2].shape[1]), -1, 0
    filters = room(tile, operands[1]) + sizes.panels * scheme.taps.inputs * scheme.taps.inputs * depth * nr
    first_task, end_task = share(thread, threads, sizes.ranges * sizes.blocks)
    for task in range(first_task, end_task):
        panels, (first, end) = task_of(tile, sizes, task)
        framed = transform_cells(tile, scheme.input, images, source, cells, frame, framed, v, first, end)
        cut = filters, sizes.u_point, v, m, depth, panels, (first, end, source, ALL_MEET), (images, source, (end, end))
        marked += convolve_block(tile, scheme, operands, flags, target, *cut, staging, thread)
    streamed(tile)
    return marked


@threaded
def convolve(tile, scheme, operands, flags, source, target, cells, sizes, buffers, staging, threads):
    """All of it; returns how many vectors of outputs were marked.

    operands : images, the address of the packed filters, bias, residual or None, outputs, None, marks
    flags : whether relu follows, False, whether outputs go past the caches, False
    source, target : how the images, in pixels, and the outputs are cut into patches
    cells : how the images are cut into cells
    buffers : V, M and the frame of a row of patches, zeros at first, a row for each thread
    staging : None; for images of planes (room, a row for each thread, and whether there is a residual)
    """
    marked = 0
    for thread in prange(threads):
        number = np.intp(thread)
        marked += convolve_share(
            tile, scheme, operands, flags, source, target, cells, sizes, buffers, staging, number, threads
        )
    return marked


class Forward:
    """A plan for the convolution of images of one shape.  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem, self.stride, self.taps = problem, problem.stride[0], taps_of(problem)
        self.scheme = Scheme(*short(OUTPUTS, self.taps))
        self.tile = tile or fitting(TILES, problem.K, problem.dtype)
        ((above, _), (beside, _)), lanes = problem.padding, self.tile.lanes
        images = problem.N, (problem.H, problem.W, problem.C, -above, -beside), (problem.P, problem.Q, problem.K)
        self.source, self.target, *_ = cut_images(*images, (OUTPUTS * self.stride, OUTPUTS))
        across = self.target.across
        patches, panels = problem.N * self.target.down * across, ceiling(problem.K, self.tile.columns)
        self.depth, points = self.stride**2 * problem.C, self.scheme.points
        self.threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        self.leave = outputs_leave(self.target, self.tile, points * self.depth * problem.K)
        self.streamed, together = streams(problem, self.target, self.tile)
        self.sizes = sizes = next(sizes_for(self.tile, points, patches, panels, self.depth, self.threads, True, together))
        reach, self.planes = OUTPUTS + self.taps - 1, problem.layout == "NCHW"
        self.cells = cells_for(problem, across, OUTPUTS, reach)
        # A plain sum needs a patch of all channels and its outputs.
        patch = ((reach * self.stride) ** 2 * ceiling(problem.C, lanes) + OUTPUTS**2) * lanes
        lengths = (
            max(points * sizes.v_point, patch),
            points * sizes.m_point,
            reach * self.stride * self.cells.width * problem.C + lanes,
        )
        self.buffers = tuple(workspace(self.threads, length, problem.dtype) for length in lengths)
        self.room = workspace(self.threads, across * OUTPUTS**2 * lanes if self.planes else 0, problem.dtype)
        self.unfolded = np.zeros((self.taps, self.taps, self.stride, self.stride, problem.C, problem.K), problem.dtype)
        self.no_bias = np.zeros(problem.K, problem.dtype)
        self.marks = np.zeros(patches * ceiling(problem.K, lanes), np.uint8)
        self.workspace_bytes = sum(a.nbytes for a in (*self.buffers, self.room, self.unfolded, self.marks))

    def pack(self, weight, packed=None):
        """The transformed weight, (R, S, C, K) or in NCHW (K, C, R, S), of any strides."""
        weight, sizes = weight.transpose(2, 3, 1, 0) if self.planes else weight, self.sizes
        for piece, cell in by_cells(self.problem, weight, self.unfolded):
            cell[...] = piece
        taps, depth, width = self.taps**2, self.depth, self.problem.K
        if packed is None:
            filters = taps * sizes.panels * depth * self.tile.columns
            packed = unwritten(filters + self.scheme.points * sizes.u_point, self.problem.dtype)
        line, strides = self.unfolded.reshape(-1), (self.taps * depth * width, depth * width, width, 1)
        threads = threads_for(self.threads, 2 * self.scheme.points * taps * depth * width, THREAD_FLOPS)
        pack_filters(self.tile, self.scheme, line, strides, False, (depth, width), packed, sizes, threads)
        return packed

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        """Write activation(conv(x, weight) + bias + residual) into ``out``.

        Parameters
        ----------
        x : (N, H, W, C) or (N, C, H, W), C-contiguous
        packed : what ``pack`` returned
        out, residual : (N, P, Q, K) or (N, K, P, Q), C-contiguous
        bias : (K,)
        activation : None or "relu"
        """
        bias, staging, addend = self.no_bias if bias is None else bias, None, residual
        streams = self.streamed and out.ctypes.data % (self.tile.lanes * out.itemsize) == 0
        flags = activation == "relu", False, streams, False
        if self.planes:
            staging, addend = (self.room, residual is not None, self.leave), out if residual is None else residual
        line = None if addend is None else addend.reshape(-1)
        operands = x.reshape(-1), address_of(packed), bias, line, out.reshape(-1), None, self.marks
        cut = self.source, self.target, self.cells, self.sizes
        if convolve(self.tile, self.scheme, operands, flags, *cut, self.buffers, staging, self.threads):
            self._sum_marked(x, packed, bias, residual, out, flags)
        return out

    def _sum_marked(self, x, packed, bias, residual, out, flags):
        """Write the outputs that were marked: a patch of whole cells is one of pixels, of whose taps some do not exist."""
        result, taps, stride = out, self.taps, self.stride
        if self.planes:  # rare enough to convert whole images for it
            x, residual, result = (
                a if a is None else np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (x, residual, out)
            )
        reach, window = (OUTPUTS + taps - 1) * stride, taps * stride
        pixels = Scheme(np.zeros((OUTPUTS, OUTPUTS)), np.zeros((OUTPUTS, window)), np.zeros((OUTPUTS, reach)))
        addend = None if residual is None else residual.reshape(-1)
        operands = x.reshape(-1), address_of(packed), bias, addend, result.reshape(-1), None
        strip, meetings = Tile(OUTPUTS, 1, self.problem.dtype, self.tile.lanes), (meeting_table(self.problem, taps), stride)
        places, threads = (self.source, self.target), len(self.buffers[0])
        sum_marked(self.tile, strip, pixels, (*operands, self.marks), flags, *places, meetings, self.buffers[0], threads)
        if self.planes:
            np.copyto(out, result.transpose(0, 3, 1, 2))
