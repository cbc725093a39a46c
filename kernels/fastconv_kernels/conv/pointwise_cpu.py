"""1x1 convolution of planes, NCHW in and out: a product of matrices for each image, with lanes over pixels.

    out[n] (K x pixels) = weight (K x C) @ x[n] (C x pixels)

No image is converted: the weights are the rows of A, packed once, and a row of B is pixels of one plane.  Planes are far
apart in memory, so that a few vectors of every plane, a *panel*, are brought together before many tiles of channels use them:
the first tile writes the panel while it multiplies, and every tile asks for a part of the panels that come next, because no
processor foresees so many streams.  The pixels of all images are one line, cut into panels wherever it may be: one that ends
an image begins the next.  With a stride a panel is gathered before its first tile.  What the caches do not hold is written
past them.  Weights that are not prepared each thread packs for itself, unless they are larger than its second cache: what
another core has packed comes slowly where the two share no cache.

The gradient of the input is the same with the weights transposed, which is another order of packing.

Sources: Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008; Zhang, Lo & Lu, "High Performance
Depthwise and Pointwise Convolutions on Mobile Devices", 2020.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.pack import pack, pack_side_by_side
from ..cpu.share import THREAD_FLOPS, share, share_of_bands, threads_for
from ..cpu.tile import Tile, fitting, pointer, streamed
from ..cpu.workspace import caches, even, unwritten, workspace, workspace_bytes
from .frame_cpu import PACK_GRAIN, flat
from .geometry import rows_read
from .pointwise_stages_cpu import Sizes, convolve_block
from .walk import exceed_caches

TILES = (8, 3), (12, 2), (8, 2), (12, 1), (6, 2), (4, 3)
"""(rows, vectors) of the products.

(6, 4), which loads less, took 1.0 to 1.1 times as long as (8, 3) in 17 layers and gradients of 7x7 to 112x112 pixels.
"""


@inlined
def tiles_met(item, last, blocks, tiles):
    """(from, to) of the tiles of channels, those of all groups, that the items ``item`` … ``last`` of a thread meet."""
    first, end = item // tiles, (last - 1) // tiles
    if first == end:
        return first // blocks * tiles + item % tiles, first // blocks * tiles + (last - 1) % tiles + 1
    return first // blocks * tiles, (end // blocks + 1) * tiles


@jit
def pack_tiles(tile, weight, strides, sizes, first, end, packed):
    """The weights of the tiles ``first`` … ``end`` of all groups at ``packed``, PANELS of a group at a time where that pays.

    strides: to the next row, column and group
    """
    row, column, group = strides
    depth, width = sizes.depth, sizes.width
    tiles, number = (width + tile.rows - 1) // tile.rows, first
    while number < end:
        g, k = number // tiles, number % tiles * tile.rows
        some = min(PANELS, min(end, (g + 1) * tiles) - number)
        count = min(some * tile.rows, width - k)
        source, target = pointer(tile, weight, g * group + k * row), packed + (number - first) * tile.rows * depth
        if row == 1:
            pack_side_by_side(tile, source, column, count, depth, target)
        else:
            for i in range(0, count, tile.rows):
                pack(tile, tile.rows, source + i * row, row, column, min(tile.rows, count - i), depth, target + i * depth)
        number += some


@jit
def convolve_share(tile, sizes, packing, operands, flags, buffers, thread, threads):
    """The tiles of channels of the blocks of the groups that are this thread's, which packs the weights that are not."""
    (x, weight, bias, residual, out), (panels, rooms) = operands, buffers
    depth, width, pixels = sizes.depth, sizes.width, sizes.pixels
    own, packed = pointer(tile, panels, thread * panels.shape[1]), pointer(tile, weight, 0)
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    images, starts = pointer(tile, x, 0), pointer(tile, bias, 0)
    addends, outputs = pointer(tile, residual, 0), pointer(tile, out, 0)
    tiles = (width + tile.rows - 1) // tile.rows
    item, last = share_of_bands(thread, threads, sizes.groups, sizes.line, sizes.block, tiles)
    if packing[0]:
        first, end = tiles_met(item, last, sizes.blocks, tiles)
        room = pointer(tile, rooms, thread * rooms.shape[1])
        pack_tiles(tile, weight, packing[1:], sizes, first, end, room)
        packed = room + (-first * tile.rows * depth)
    while item < last:
        task, number = item // tiles, item % tiles
        g, begin = task // sizes.blocks, task % sizes.blocks * sizes.block
        stretch, end = (number, min(tiles, number + last - item)), min(sizes.line, begin + sizes.block)
        epilogue = starts + g * tiles * tile.rows, addends + g * width * pixels, *flags
        source, target = images + g * depth * sizes.plane, outputs + g * width * pixels
        matrix = packed + g * tiles * tile.rows * depth
        convolve_block(tile, sizes, source, matrix, epilogue, target, stretch, begin, end, own)
        item += stretch[1] - stretch[0]
    streamed(tile)


@threaded
def convolve(tile, sizes, packing, operands, flags, buffers, threads):
    for thread in prange(threads):
        convolve_share(tile, sizes, packing, operands, flags, buffers, np.intp(thread), threads)


@threaded
def pack_all(tile, weight, strides, sizes, packed, threads):
    """The weights of all tiles, for all threads."""
    tiles = sizes.groups * ((sizes.width + tile.rows - 1) // tile.rows)
    for thread in prange(threads):
        first, end = share(thread, threads, tiles)
        pack_tiles(tile, weight, strides, sizes, first, end, pointer(tile, packed, first * tile.rows * sizes.depth))


class _Pointwise:
    """What the plans of both directions share.  One call at a time.

    source, target: channels of the images that are read and written
    """

    def __init__(self, problem, threads, source, target, tile, prepared, most_bytes):
        self.problem = problem
        pixels, depth, width = problem.P * problem.Q, source // problem.groups, target // problem.groups
        self.tile = tile or fitting(_shapes(problem), max(1, problem.N) * pixels, problem.dtype, width)
        line, nr = problem.N * pixels, self.tile.columns
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        limit = max(nr, caches().level2 // BLOCK_SHARE // (depth * self.tile.itemsize))
        size = even(line, min(limit, max(nr, line // threads)), nr)
        blocks = -(-line // size)
        together = (2 * pixels + width) * depth * self.tile.itemsize
        whole = problem.groups == 1 and problem.stride == (1, 1) and together <= WHOLE_SHARE * caches().level2
        self.sizes = Sizes(problem.groups, depth, width, pixels, line, *rows_read(problem), size, blocks, int(whole))
        self.streamed = exceed_caches(problem) and pixels % self.tile.lanes == 0
        self.threads = max(1, min(threads, problem.groups * blocks * -(-width // self.tile.rows)))
        self.bias = np.zeros((problem.groups, -(-width // self.tile.rows) * self.tile.rows), problem.dtype)
        self.no_bias = np.zeros_like(self.bias)
        lengths = [size * depth, self.bias.size * depth + self.tile.lanes]  # what packing writes beyond the last
        self.workspace_bytes = workspace_bytes(self.threads, lengths, problem.dtype)
        too_large = self.workspace_bytes if most_bytes is None else most_bytes
        if prepared or lengths[1] * self.tile.itemsize > caches().level2 or self.workspace_bytes > too_large:
            lengths[1] = 0
            self.workspace_bytes = workspace_bytes(self.threads, lengths, problem.dtype)
        self.packs = lengths[1] > 0
        self.buffers = tuple(workspace(self.threads, length, problem.dtype) for length in lengths)

    def pack(self, weight, packed=None):
        """The weight (K, C / groups, 1, 1), of any strides, as calls take it: packed, or itself where each call packs it."""
        if self.packs:
            return weight
        line, strides = self._line(weight)
        if packed is None:
            packed = unwritten(self.bias.size * self.sizes.depth + self.tile.lanes, self.problem.dtype)
        pack_all(self.tile, line, strides, self.sizes, packed, threads_for(self.threads, weight.size, PACK_GRAIN))
        return packed

    def _run(self, x, packed, bias, residual, activation, out):
        if bias is not None:
            self.bias[:, : self.sizes.width] = bias.reshape(-1, self.sizes.width)
        starts = (self.no_bias if bias is None else self.bias).reshape(-1)
        addend = (out if residual is None else residual).reshape(-1)
        line, strides = self._line(packed) if self.packs else (packed, (0, 0, 0))
        operands = x.reshape(-1), line, starts, addend, out.reshape(-1)
        streams = self.streamed and out.ctypes.data % (self.tile.lanes * self.tile.itemsize) == 0
        flags = residual is not None, activation == "relu", streams
        convolve(self.tile, self.sizes, (int(self.packs), *strides), operands, flags, self.buffers, self.threads)
        return out


class Forward(_Pointwise):
    """A plan for the 1x1 convolution of NCHW images of one shape, with any stride."""

    def __init__(self, problem, threads=1, tile=None, *, prepared=False, most_bytes=None):
        super().__init__(problem, threads, problem.C, problem.K, tile, prepared, most_bytes)

    def _line(self, weight):
        """The weight as a line; its strides from one row of the product, column and group to the next."""
        line, (row, column, _, _) = flat(weight)
        return line, (row, column, row * self.sizes.width)

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
        return self._run(x, packed, bias, residual, activation, out)


class BackwardInput(_Pointwise):
    """A plan for the gradient with respect to the input."""

    def __init__(self, problem, threads=1, tile=None, *, prepared=False, most_bytes=None):
        super().__init__(problem, threads, problem.K, problem.C, tile, prepared, most_bytes)

    def _line(self, weight):
        """As ``Forward``'s, of the transpose."""
        line, (column, row, _, _) = flat(weight)
        return line, (row, column, column * self.sizes.depth)

    def __call__(self, grad_output, packed, out):
        """Write the gradient (N, C, H, W) for the gradient (N, K, H, W) of the output into ``out``; both C-contiguous."""
        return self._run(grad_output, packed, None, None, None, out)


PANELS = 8
"""Packed at a time where they lie side by side: a line of memory is then read once, with few streams that are written."""


BLOCK_SHARE = 16
"""Of the second cache for the panels of a block: 64 KB.

With 256 KB 16 layers of GoogLeNet and ResNet-50 took 1 to 4% longer, those with 64 output channels up to 15%: what was asked
for ahead came too late or had gone again.
"""


WHOLE_SHARE = 0.75
"""Of the second cache for the image that is read, the next, which is asked for as a whole, and the weights."""


def _shapes(problem):
    """The tiles no wider than an image: a panel meets at most two images."""
    fit = [shape for shape in TILES if Tile(*shape, problem.dtype).columns <= problem.P * problem.Q]
    return [shape for shape in fit if Tile(*shape, problem.dtype).fits()]


def refuses(problem):
    """Why it cannot compute ``problem``."""
    if (problem.R, problem.S) != (1, 1) or any(map(any, problem.padding)):
        return ("the window is not 1x1, or it has padding",)
    if not _shapes(problem):
        return ("an image has fewer pixels than a vector",)
    return ()


def refuses_gradient(problem):
    """Why it cannot compute the gradient of the input."""
    return refuses(problem) if problem.stride == (1, 1) else ("a stride leaves gaps in the gradient",)


def declines(problem):
    """Why another kernel should compute ``problem``."""
    if problem.layout != "NCHW":
        return ("the images are NHWC",)
    return ()
