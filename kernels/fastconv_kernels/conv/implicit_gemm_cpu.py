"""Implicit matrix product: the tile loop over pixels and channels, with the pixels addressed through a table.

Output pixels are the rows of A, read where they are in the image: a tile runs on across row ends, so that no map is too small
for it.  Output channels are the columns of B, packed once in panels; threads share the panels of all bands of the images, so
that a single small image is enough for many.  The sum runs over the taps of the window and the channels of each.
Strides, padding, dilation, groups and the transpose are all in the tables (``geometry``): this kernel knows none of them.
In small maps the taps that lie in the padding for a whole row of pixels are left out: of 3x3 on 7x7 a tenth of the products.
Images in NCHW are brought to channels last band by band (``planes_cpu``), and the result back: never as a whole.
Results that the caches do not hold are written past them.

Sources: Dukhan, "The Indirect Convolution Algorithm", 2019; Georganas et al., "Anatomy of High-Performance Deep Learning
Convolutions on SIMD Architectures", 2018.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.places import columns, rows_at, scattered
from ..cpu.share import THREAD_FLOPS, share_of_bands, threads_for
from ..cpu.tile import (
    accumulate_rows,
    add_tile,
    finish,
    fitting,
    load_tile,
    pointer,
    prefetch_tile,
    spread_columns,
    streamed,
)
from ..cpu.workspace import caches, unwritten, workspace
from .frame_cpu import flat, frame_band, pack_panels
from .geometry import band_pixels, bands_of, forward_axes, pixels_as_rows, tables_of, transposed_axes
from .planes_cpu import frame_planes, scatter_pixels
from .walk import exceed_caches

TILES = (8, 2), (6, 4), (8, 3), (10, 1), (6, 2), (4, 3)
"""(rows, vectors): with more rows the addresses no longer fit in the registers."""

FEW_PIXELS, TILES_OF_FEW = 64, ((8, 2), (6, 4), (8, 3), (7, 2), (10, 1), (6, 2))
"""In maps of so few pixels the wasted rows of a last tile count: (7, 2) takes 0.9 times as long as (6, 4) for those of 7x7."""


@inlined
def products(tile, total, rows, panel, segments, first, end):
    """total + the products of ``rows`` of pixels with a panel of weights: one run of channels after another."""
    for segment in range(first, end):
        offset, length = segments[3 * segment], segments[3 * segment + 1]
        total = accumulate_rows(tile, total, rows + offset, panel, length)
        panel = panel + length * tile.columns
    return total


@jit
def convolve_panel(tile, tables, slice_, pixels, count, source, panel, epilogue, target):
    """A panel of ``count`` target channels of some pixels, or a slice of the sum.

    tables: pointers to the classes, to the sources and targets of the pixels, and to the segments; slice_: segments from, to,
    whether it is the first and the last; pixels: (how many, classes from, to); source, panel, target: pointers to the first
    channels; epilogue: as in ``convolve_band``
    """
    classes, sources, targets, segments = tables
    begin, end, first, last = slice_
    bias, residual, adds, rectifies, streams = epilogue
    streams = streams and count >= tile.columns and first and last  # part of a sum is read again
    start = columns(tile, bias, count if first else 0)
    for number in range(pixels[1], pixels[2]):
        from_, to = classes[4 * number], min(pixels[0], classes[4 * number + 1])
        low, high = max(begin, classes[4 * number + 2]), min(end, classes[4 * number + 3])
        weights = panel + segments[3 * low + 2] * tile.columns
        for p in range(from_, to, tile.rows):
            places = targets + p
            place = scattered(tile, target, places, to - p, count)
            past = streams and to - p >= tile.rows
            if not past:
                prefetch_tile(place)
            a = rows_at(tile, source, sources + p, to - p)
            total = products(tile, spread_columns(tile, start), a, weights, segments, low, high)
            if not first:
                total = add_tile(total, load_tile(tile, place))
            other = scattered(tile, residual, places, to - p, count)
            finish(tile, total, place, other, (adds and first, rectifies and last, past))


@jit
def convolve_band(tile, narrow, tables, shape, rows, stretch, source, packed, epilogue, target):
    """Target pixels of one band: for each phase, group, slice of the sum, panel of channels and tile of pixels.

    narrow: the tile of the last panel of a group; shape: (groups, source channels, target channels); rows: target rows that
    exist; stretch: panels from, to; source, packed, target: pointers, of the frame, of the weights, of the band in the target;
    epilogue: (bias, residual band, adds, rectifies, streams)
    """
    phases, classes, sources, targets, slices, segments = tables
    groups, source_channels, target_channels = shape
    bias, residual, adds, rectifies, streams = epilogue
    depth, width, nr = source_channels // groups, target_channels // groups, tile.columns
    panels, alike, runs = (width + nr - 1) // nr, pointer(tile, classes, 0), pointer(tile, segments, 0)
    for phase in range(phases.shape[0]):
        first_pixel, line, row_phase, row_step, rows_before, panel_rows, first_slice, last_slice = phases[phase, :8]
        pixels = max(0, (rows - row_phase + row_step - 1) // row_step) * line, phases[phase, 8], phases[phase, 9]
        weights = packed + rows_before * groups * panels * nr
        places = alike, pointer(tile, sources, first_pixel), pointer(tile, targets, first_pixel), runs
        for g in range(stretch[0] // panels, (stretch[1] + panels - 1) // panels):
            first_panel, end_panel = max(0, stretch[0] - g * panels), min(panels, stretch[1] - g * panels)
            for s in range(first_slice, last_slice):
                slice_ = slices[s, 0], slices[s, 1], s == first_slice, s + 1 == last_slice
                for j in range(first_panel, end_panel):
                    panel = weights + (g * panels + j) * panel_rows * nr
                    k, count = g * width + j * nr, width - j * nr
                    ending = bias + k, residual + k, adds, rectifies, streams
                    about = places, slice_, pixels, count, source + g * depth, panel, ending, target + k
                    if count < nr:
                        convolve_panel(narrow, *about)
                    else:
                        convolve_panel(tile, *about)


@inlined
def panels_of(tile, shape):
    """Panels of target channels, those of all groups; shape: (groups, source channels, target channels)."""
    return shape[0] * ((shape[2] // shape[0] + tile.columns - 1) // tile.columns)


@inlined
def first_channel(tile, shape, panel):
    """The first target channel of a panel."""
    width = shape[2] // shape[0]
    panels = (width + tile.columns - 1) // tile.columns
    return panel // panels * width + panel % panels * tile.columns


@jit
def convolve_share(tile, narrow, tables, bands, extents, shape, operands, flags, frames, thread, threads):
    """The panels of bands that are this thread's, band by band: frame it if it must be, then convolve it."""
    x, packed, bias, residual, out = operands
    images, source_rows, source_columns, target_rows, target_columns = extents
    count, band_rows, advance, top, left, height, width, framed = bands
    source_channels, target_channels = shape[1], shape[2]
    frame = pointer(tile, frames, thread * frames.shape[1])
    # Addresses are taken once: to look into an array counts a reference, on which the threads would wait for each other.
    weights, starts = pointer(tile, packed, 0), pointer(tile, bias, 0)
    inputs, addends, outputs = pointer(tile, x, 0), pointer(tile, residual, 0), pointer(tile, out, 0)
    panels = panels_of(tile, shape)
    item, end = share_of_bands(thread, threads, images, target_rows, band_rows, panels)
    while item < end:
        task, panel = item // panels, item % panels
        n, band, stretch = task // count, task % count, (panel, min(panels, panel + end - item))
        image = inputs + n * source_rows * source_columns * source_channels
        source = image + band * advance * source_columns * source_channels
        if framed:
            extent = source_rows, source_columns, source_channels
            frame_band(tile, image, extent, band * advance + top, left, height, width, frame)
            source = frame
        origin = (n * target_rows + band * band_rows) * target_columns * target_channels
        epilogue = starts, addends + origin, *flags
        rows = min(band_rows, target_rows - band * band_rows)
        convolve_band(tile, narrow, tables, shape, rows, stretch, source, weights, epilogue, outputs + origin)
        item += stretch[1] - stretch[0]
    streamed(tile)


@threaded
def convolve(tile, narrow, tables, bands, extents, shape, operands, flags, frames, threads):
    for thread in prange(threads):
        convolve_share(tile, narrow, tables, bands, extents, shape, operands, flags, frames, np.intp(thread), threads)


@jit
def convolve_planes_share(tile, narrow, tables, bands, extents, shape, operands, flags, frames, results, thread, threads):
    """``convolve_share`` for images of planes: a band is framed with channels last, convolved, and written plane by plane."""
    x, packed, bias, residual, out = operands
    images, source_rows, source_columns, target_rows, target_columns = extents
    count, band_rows, advance, top, left, height, width, _ = bands
    source_channels, target_channels = shape[1], shape[2]
    source_plane, target_plane = source_rows * source_columns, target_rows * target_columns
    frame = pointer(tile, frames, thread * frames.shape[1])
    result = pointer(tile, results, thread * results.shape[1])
    weights, epilogue = pointer(tile, packed, 0), (pointer(tile, bias, 0), result, False, False, False)
    inputs, addends, outputs = pointer(tile, x, 0), pointer(tile, residual, 0), pointer(tile, out, 0)
    panels = panels_of(tile, shape)
    item, end = share_of_bands(thread, threads, images, target_rows, band_rows, panels)
    while item < end:
        task, panel = item // panels, item % panels
        n, band, stretch = task // count, task % count, (panel, min(panels, panel + end - item))
        extent = source_rows, source_columns, source_channels
        image = inputs + n * source_plane * source_channels
        frame_planes(tile, image, extent, band * advance + top, left, height, width, frame)
        rows = min(band_rows, target_rows - band * band_rows)
        convolve_band(tile, narrow, tables, shape, rows, stretch, frame, weights, epilogue, result)
        begin, stop = first_channel(tile, shape, stretch[0]), first_channel(tile, shape, stretch[1])
        origin = (n * target_channels + begin) * target_plane + band * band_rows * target_columns
        finish, pixels = (addends + origin, flags[0], flags[1]), rows * target_columns
        scatter_pixels(tile, result + begin, target_channels, pixels, stop - begin, target_plane, finish, outputs + origin)
        item += stretch[1] - stretch[0]


@threaded
def convolve_planes(tile, narrow, tables, bands, extents, shape, operands, flags, frames, results, threads):
    for thread in prange(threads):
        number = np.intp(thread)
        convolve_planes_share(tile, narrow, tables, bands, extents, shape, operands, flags, frames, results, number, threads)


class _Tabled:
    """What the plans of both directions share: bands, tables, frames, packed weights.  One call at a time.

    axes: (vertical, horizontal); source, target: (rows, columns, channels) of the images that are read and written.
    """

    def __init__(self, problem, threads, axes, source, target, tile):
        self.problem = problem
        vertical, horizontal = axes
        self.depth, self.width = source[2] // problem.groups, target[2] // problem.groups
        self.planes = problem.layout == "NCHW"
        of_phase = -(-target[0] // vertical.step) * -(-target[1] // horizontal.step)
        tiles, rows = (TILES_OF_FEW, of_phase) if of_phase <= FEW_PIXELS else (TILES, None)
        self.tile = tile or fitting(tiles, self.width, problem.dtype, rows, narrows=True)
        self.narrow = self.tile.of_last(self.width)
        pixels = band_pixels(problem.N * target[0] * target[1], source[2] + target[2], self.tile.itemsize, threads)
        unit = self.tile.rows if horizontal.target == 1 else 1  # in maps of one column a band ends with a tile
        self.bands = bands_of(vertical, horizontal, pixels, unit, framed=self.planes)
        slice_rows = caches().level2 // 4 // (self.tile.columns * self.tile.itemsize)
        shape = source[2], target[2], problem.groups
        tables = tables_of(vertical, horizontal, self.bands, *shape, slice_rows, self.tile.rows)
        self.tables, self.taps = tables[:6], tables.taps
        panels = problem.groups * -(-self.width // self.tile.columns)
        self.threads = max(1, min(threads_for(threads, problem.flops, THREAD_FLOPS), problem.N * self.bands.number * panels))
        self.extents = problem.N, *source[:2], *target[:2]
        self.shape = problem.groups, source[2], target[2]
        self.streamed = exceed_caches(problem) and self.width % self.tile.lanes == 0
        self.frames = workspace(self.threads, self.bands.height * self.bands.width * source[2], problem.dtype)
        self.no_bias = np.zeros(target[2], problem.dtype)
        result = self.bands.rows * target[1] * target[2] if self.planes else 0
        self.results = workspace(self.threads, result, problem.dtype)
        self.workspace_bytes = self.frames.nbytes + self.results.nbytes

    def _pack(self, weight, strides, packed):
        """Panels of all phases; strides: from one tap row, tap column, weight row, weight column and group to the next."""
        panels = -(-self.width // self.tile.columns) * self.problem.groups
        if packed is None:
            packed = unwritten(sum(map(len, self.taps)) * self.depth * panels * self.tile.columns, weight.dtype)
        first = 0
        for taps in self.taps:
            shape = self.depth, self.width, self.problem.groups
            pack_panels(self.tile, weight, strides, taps, *shape, packed, first, self.threads, self.narrow.columns)
            first += len(taps) * self.depth * panels * self.tile.columns
        return packed

    def _run(self, x, packed, bias, residual, activation, out):
        operands = (
            x.reshape(-1),
            packed,
            self.no_bias if bias is None else bias,
            (out if residual is None else residual).reshape(-1),
            out.reshape(-1),
        )
        streams = self.streamed and out.ctypes.data % (self.tile.lanes * self.tile.itemsize) == 0
        flags = residual is not None, activation == "relu", streams
        about = self.tile, self.narrow, self.tables, tuple(self.bands), self.extents, self.shape, operands, flags, self.frames
        if self.planes:
            convolve_planes(*about, self.results, self.threads)
        else:
            convolve(*about, self.threads)
        return out


class Forward(_Tabled):
    """A plan for the convolution of images of one shape."""

    def __init__(self, problem, threads=1, tile=None):
        whole = pixels_as_rows(problem)
        source, target = (whole.H, whole.W, whole.C), (whole.P, whole.Q, whole.K)
        super().__init__(whole, threads, forward_axes(whole), source, target, tile)
        self.problem = problem

    def pack(self, weight, packed=None):
        """Panels of the weight, (R, S, C / groups, K) or in NCHW (K, C / groups, R, S), of any strides."""
        line, (down, right, row, column) = flat(weight.transpose(2, 3, 1, 0) if self.planes else weight)
        return self._pack(line, (down, right, row, column, column * self.width), packed)

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
        return self._run(x, packed, bias, residual, activation, out)


class BackwardInput(_Tabled):
    """A plan for the gradient with respect to the input: the transpose of the convolution."""

    def __init__(self, problem, threads=1, tile=None):
        whole = pixels_as_rows(problem)
        source, target = (whole.P, whole.Q, whole.K), (whole.H, whole.W, whole.C)
        super().__init__(whole, threads, transposed_axes(whole), source, target, tile)
        self.problem = problem

    def pack(self, weight, packed=None):
        """Panels of the transpose of the weight, (R, S, C / groups, K) or in NCHW (K, C / groups, R, S), of any strides."""
        line, (down, right, column, row) = flat(weight.transpose(2, 3, 1, 0) if self.planes else weight)
        return self._pack(line, (down, right, row, column, row * self.depth), packed)

    def __call__(self, grad_output, packed, out):
        """Write the gradient of the input for that of the output into ``out``; both C-contiguous, in the problem's layout."""
        return self._run(grad_output, packed, None, None, None, out)
