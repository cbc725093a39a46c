"""Implicit matrix product: the tile loop over pixels and channels, with the pixels addressed through a table.

Output pixels are the rows of A, read where they are in the image: a tile runs on across row ends, so that no map is too small
for it.  Output channels are the columns of B, in panels; threads share the panels of all bands of the images, so that a single
small image is enough for many.  The sum runs over the taps of the window and the channels of each.
Weights that are not prepared each thread packs for itself, as many panels at a time as stay in its second cache: what another
core has packed comes slowly where the two share no cache.
Strides, padding, dilation and the transpose are all in the tables (``geometry``): this kernel knows none of them.
Each group of channels has a frame of its own: its few channels between those of others would be in few sets of a cache.
In small maps the taps that lie in the padding for a whole row of pixels are left out: of 3x3 on 7x7 a tenth of the products;
of a window that is dilated far all of them are (``inside``).
Images in NCHW are brought to channels last band by band (``planes_cpu``), and the result back: never as a whole.
Results that the caches do not hold are written past them.

Sources: Dukhan, "The Indirect Convolution Algorithm", 2019; Georganas et al., "Anatomy of High-Performance Deep Learning
Convolutions on SIMD Architectures", 2018.
"""

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.share import THREAD_FLOPS, share_of_bands, threads_for
from ..cpu.simd import register_bytes
from ..cpu.tile import Tile, fitting, pointer, streamed
from ..cpu.workspace import LINE_BYTES, caches, even, unwritten, workspace, workspace_bytes
from .frame_cpu import flat, frame_band, frame_groups, pack_panels
from .geometry import as_column, band_pixels, bands_of, forward_axes, parts_of, tables_of, transposed_axes
from .implicit_gemm_planes_cpu import convolve_planes
from .implicit_gemm_stages_cpu import (
    PIXELS_AHEAD,
    convolve_band,
    frames_apart,
    panels_met,
    panels_of,
    weights_of,
)
from .inside import inside, tables_inside
from .walk import exceed_caches

TILES = (8, 2), (6, 4), (8, 3), (10, 1), (6, 2), (4, 3)
"""(rows, vectors): with more rows the addresses no longer fit in the registers."""

FEW_PIXELS, TILES_OF_FEW = 64, ((8, 2), (6, 4), (8, 3), (7, 2), (10, 1), (6, 2))
"""In maps of so few pixels the wasted rows of a last tile count: (7, 2) takes 0.9 times as long as (6, 4) for those of 7x7."""

WIDTHS, ROWS_OF_GROUP = (4, 8), 10
"""Channels of a group that fill narrower vectors, and the rows of their tile.

A vector of which only some lanes have a channel is stored behind masks, row by row.  On a Granite Rapids groups of 8 took 0.81
to 0.92 of the time with vectors of 8 lanes, of 4 0.71 to 0.78, but under a window of 1x1, from memory, 1.13.
"""


def tile_of_group(problem, width):
    """The tile whose vectors have as many lanes as a group has channels of the target, ``width``, or None."""
    lanes, window = register_bytes() // np.dtype(problem.dtype).itemsize, problem.R * problem.S
    fills = problem.groups > 1 and window > 1 and problem.layout == "NHWC" and width in WIDTHS and width < lanes
    return Tile(ROWS_OF_GROUP, 1, problem.dtype, width) if fills else None


NO_STRIDES = 0, 0, 0, 0, 0
"""Of weights that are packed."""


@jit
def convolve_bands(tile, narrow, tables, bands, extents, shape, operands, flags, items, block, weights, frame, first):
    """The panels ``block`` (from, to) of all bands that these ``items`` meet, which are framed if they must be.

    first: whether it is the first block, in which frames are filled; where others follow these are kept, side by side
    """
    x, _, bias, residual, out = operands
    _, source_rows, source_columns, target_rows, target_columns = extents
    count, band_rows, advance, top, left, height, width, framed = bands
    source_channels, target_channels = shape[1], shape[2]
    # Addresses are taken once: to look into an array counts a reference, on which the threads would wait for each other.
    starts, inputs = pointer(tile, bias, 0), pointer(tile, x, 0)
    addends, outputs = pointer(tile, residual, 0), pointer(tile, out, 0)
    panels, lines, (item, end) = panels_of(tile, shape), out.shape[0] // (target_columns * target_channels), items
    whole, before = block[1] - block[0] == panels, item // panels
    while item < end:
        task, panel = item // panels, item % panels
        n, band, last = task // count, task % count, min(panels, panel + end - item)
        stretch = max(panel, block[0]), min(last, block[1])
        item += last - panel
        image = inputs + n * source_rows * source_columns * source_channels
        source = image + band * advance * source_columns * source_channels
        if framed:
            source = frame if whole else frame + (task - before) * height * width * source_channels
            if first:
                extent, place = (source_rows, source_columns, source_channels), (band * advance + top, left, height, width)
                if frames_apart(shape):
                    frame_groups(tile, image, extent, shape[0], *place, source)
                else:
                    frame_band(tile, image, extent, *place, source)
        if stretch[0] >= stretch[1]:
            continue
        line = n * target_rows + band * band_rows
        origin = line * target_columns * target_channels
        epilogue = starts, addends + origin, *flags[:3]
        rows = min(band_rows, target_rows - band * band_rows, lines - line)  # the last part may be shorter: ``parts_of``
        convolve_band(tile, narrow, tables, shape, rows, stretch, source, weights, epilogue, outputs + origin, flags[3:])


@jit
def convolve_share(tile, narrow, tables, taps, bands, extents, shape, packing, operands, flags, buffers, thread, threads):
    """The panels of bands that are this thread's, as many panels at a time as it packs for itself."""
    frames, rooms = buffers
    frame, room = pointer(tile, frames, thread * frames.shape[1]), pointer(tile, rooms, thread * rooms.shape[1])
    panels = panels_of(tile, shape)
    items = share_of_bands(thread, threads, extents[0], extents[3], bands[1], panels)
    low, end = panels_met(*items, panels)
    begin = low
    while begin < end:
        until = min(end, begin + (packing[0] or panels))
        weights = weights_of(tile, narrow, taps, shape, packing, operands[1], begin, until, room)
        about, block = (tile, narrow, tables, bands, extents, shape, operands, flags, items), (begin, until)
        convolve_bands(*about, block, weights, frame, begin == low)
        begin = until
    streamed(tile)


@threaded
def convolve(tile, narrow, tables, taps, bands, extents, shape, packing, operands, flags, buffers, threads):
    for thread in prange(threads):
        number = np.intp(thread)
        convolve_share(tile, narrow, tables, taps, bands, extents, shape, packing, operands, flags, buffers, number, threads)


class _Tabled:
    """What the plans of both directions share: bands, tables, frames, packed weights.  One call at a time.

    axes: (vertical, horizontal); source, target: (rows, columns, channels) of the images that are read and written.
    """

    def __init__(self, problem, threads, axes, source, target, tile, prepared, most_bytes):
        self.problem = problem
        vertical, horizontal = axes
        self.depth, self.width = source[2] // problem.groups, target[2] // problem.groups
        self.planes, self.window = problem.layout == "NCHW", (problem.R, problem.S)
        of_phase = -(-target[0] // vertical.step) * -(-target[1] // horizontal.step)
        tiles, rows = (TILES_OF_FEW, of_phase) if of_phase <= FEW_PIXELS else (TILES, None)
        tile = tile or tile_of_group(problem, self.width)
        self.tile = tile or fitting(tiles, self.width, problem.dtype, rows, narrows=True)
        self.narrow = self.tile.of_last(self.width)
        pixels = band_pixels(problem.N * target[0] * target[1], source[2] + target[2], self.tile.itemsize, threads)
        unit = self.tile.rows if horizontal.target == 1 else 1  # in maps of one column a band ends with a tile
        images, vertical = (problem.N, vertical) if self.planes else parts_of(problem, vertical, threads, unit)
        apart = problem.groups > 1 and problem.R * problem.S > 1
        self.bands = bands_of(vertical, horizontal, pixels, unit, framed=self.planes or apart)
        slice_rows = caches().level2 // 4 // (self.tile.columns * self.tile.itemsize)
        channels = source[2], target[2], problem.groups
        shape = problem.groups, source[2], target[2], self.depth * (self.bands.height * self.bands.width if apart else 1)
        if inside(problem, vertical, horizontal):
            self.bands, tables = tables_inside(vertical, horizontal, *channels[:2], self.planes)
        else:
            tables = tables_of(vertical, horizontal, self.bands, *channels, slice_rows, self.tile.rows, apart)
        self.taps = tables.taps
        panels = problem.groups * -(-self.width // self.tile.columns)
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), images * self.bands.number * panels))
        extents = images, vertical.source, source[1], vertical.target, target[1]
        side_by_side = problem.pointwise and not self.planes and problem.groups == 1
        far = problem.N * source[0] * source[1] * source[2] * self.tile.itemsize > caches().level2 // 2
        self.pixels_ahead = max(PIXELS_AHEAD, self.tile.rows * self.depth) if side_by_side and far else 0
        self.streamed = exceed_caches(problem) and self.width * self.tile.itemsize % LINE_BYTES == 0
        self.no_bias = np.zeros(target[2], problem.dtype)
        result = self.bands.rows * target[1] * target[2] if self.planes else 0
        lengths = [self.bands.height * self.bands.width * source[2], 0, *[result] * self.planes]
        panel = len(self.taps[0]) * self.depth * self.tile.columns
        met = -(-images * self.bands.number // self.threads) + 2  # bands of a thread, two of them cut by its ends
        frames = min(images * self.bands.number, met) * lengths[0]
        kept = not self.planes and self.threads * frames <= panels * panel
        self.together = 0 if prepared or len(self.taps) > 1 else self._packed_together(panel, panels, kept)
        if self.together:
            lengths[1] = self.together * panel + self.tile.lanes  # what packing writes beyond the last
            if self.together < panels:
                lengths[0] = frames
        met_again = (self.together or panels) * panel * self.tile.itemsize
        self.asks = self.pixels_ahead, met_again > caches().level2 // 4, target[2] if side_by_side else 0
        self.workspace_bytes = workspace_bytes(self.threads, lengths, problem.dtype)
        if self.together and most_bytes is not None and self.workspace_bytes > most_bytes:
            self.together, lengths[:2] = 0, (self.bands.height * self.bands.width * source[2], 0)
            self.workspace_bytes = workspace_bytes(self.threads, lengths, problem.dtype)
        self.buffers = tuple(workspace(self.threads, length, problem.dtype) for length in lengths)
        self.fixed = self.tile, self.narrow, tables[:6], self.taps[0], tuple(self.bands), extents, shape

    def _packed_together(self, panel, panels, kept):
        """How many panels, of ``panel`` elements, each thread packs for itself at a time; 0: one does for all.

        kept: whether bands can be come back to, whose frames together take no more memory than all weights packed
        """
        room = caches().level2 // (panel * self.tile.itemsize)
        if panels <= room:
            return panels
        return even(panels, max(1, room // 2), 1) if kept else 0

    def pack(self, weight, packed=None):
        """The weight, (R, S, C / groups, K) or in NCHW (K, C / groups, R, S), of any strides, as calls take it.

        Packed in panels; itself where each call packs what it meets.
        """
        if self.together:
            return weight
        line, strides = self._line(weight)
        panels = -(-self.width // self.tile.columns) * self.problem.groups
        if packed is None:
            packed = unwritten(sum(map(len, self.taps)) * self.depth * panels * self.tile.columns, weight.dtype)
        first = 0
        for taps in self.taps:
            shape = self.depth, self.width, self.problem.groups
            pack_panels(self.tile, line, strides, taps, *shape, packed, first, self.threads, self.narrow.columns)
            first += len(taps) * self.depth * panels * self.tile.columns
        return packed

    def _line(self, weight):
        """The weight as a line; its strides from one tap row, tap column, source and target channel and group to the next."""
        taps = weight.transpose(2, 3, 1, 0) if self.planes else weight
        if taps.shape[:2] != self.window:  # of images of one row, which are taken as one column
            taps = taps.swapaxes(0, 1)
        line, (down, right, inputs, outputs) = flat(taps)
        if self.turned:
            return line, (down, right, outputs, inputs, outputs * self.depth)
        return line, (down, right, inputs, outputs, outputs * self.width)

    def weights(self, packed):
        """What ``pack`` returned as ``run`` takes it: a line, and its strides where each call packs what it meets."""
        return self._line(packed) if self.together else (packed, NO_STRIDES)

    def run(self, x, weights, bias, residual, activation, out):
        """The convolution, or its transpose; ``residual`` may be ``out``."""
        line, strides = weights
        operands = (
            x.reshape(-1),
            line,
            self.no_bias if bias is None else bias,
            (out if residual is None else residual).reshape(-1),
            out.reshape(-1),
        )
        streams = self.streamed and out.ctypes.data % (self.tile.lanes * self.tile.itemsize) == 0
        flags = residual is not None, activation == "relu", streams, *self.asks
        compute = convolve_planes if self.planes else convolve
        compute(*self.fixed, (self.together, *strides), operands, flags, self.buffers, self.threads)
        return out


class Forward(_Tabled):
    """A plan for the convolution of images of one shape."""

    turned = False

    def __init__(self, problem, threads=1, tile=None, *, prepared=False, most_bytes=None):
        whole = as_column(problem)
        source, target = (whole.H, whole.W, whole.C), (whole.P, whole.Q, whole.K)
        super().__init__(whole, threads, forward_axes(whole), source, target, tile, prepared, most_bytes)
        self.problem = problem

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
        return self.run(x, self.weights(packed), bias, residual, activation, out)


class BackwardInput(_Tabled):
    """A plan for the gradient with respect to the input: the transpose of the convolution."""

    turned = True

    def __init__(self, problem, threads=1, tile=None, *, prepared=False, most_bytes=None):
        whole = as_column(problem)
        source, target = (whole.P, whole.Q, whole.K), (whole.H, whole.W, whole.C)
        super().__init__(whole, threads, transposed_axes(whole), source, target, tile, prepared, most_bytes)
        self.problem = problem

    def __call__(self, grad_output, packed, out):
        """Write the gradient of the input for that of the output into ``out``; both C-contiguous, in the problem's layout."""
        return self.run(grad_output, self.weights(packed), None, None, None, out)
