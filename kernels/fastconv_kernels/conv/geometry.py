"""Bands and tables: the shapes of a convolution turned into the addresses that a tile loop reads.

Convolution is done band by band: a few rows of the target image and the rows of the source image that they need, in a frame
of zeros where the window reaches beyond the image.  Inside a band

    target[targets[pixel], k] = sum over taps, c of source[sources[pixel] + offset[tap] + c] * weight[tap, c, k]

so that forward convolution, with any stride, padding and dilation, and its transpose differ only in their tables.  Nothing
is gathered: the matrix of windows is never built.  The transpose of a convolution with stride has several *phases*: the
target pixels whose coordinates leave the same remainders use the same taps.

Sources: Dukhan, "The Indirect Convolution Algorithm", 2019, for the table of addresses; Dumoulin & Visin, "A guide to
convolution arithmetic for deep learning", 2016, section 4, for the transpose.
"""

from dataclasses import replace
from itertools import product
from math import lcm
from typing import NamedTuple

import numpy as np

from ..cpu.workspace import caches


class Axis(NamedTuple):
    """One axis of one direction: target pixel ``step * i + phase`` reads source pixel ``advance * i + reach`` for each tap.

    ``taps[phase]`` lists (tap, reach); a reach may be negative: pixels before the image are zero.
    """

    target: int
    source: int
    step: int
    advance: int
    taps: list[list[tuple[int, int]]]

    @property
    def first(self):
        """The least reach."""
        return min((reach for phase in self.taps for _, reach in phase), default=0)

    @property
    def last(self):
        return max((reach for phase in self.taps for _, reach in phase), default=0)

    def extent(self, pixels):
        """Source pixels in the frame of ``pixels`` target pixels."""
        return self.advance * (-(-pixels // self.step) - 1) + self.last - self.first + 1


def forward_axes(problem):
    """(vertical, horizontal) of the convolution: output pixel i reads input pixel stride * i + dilation * tap - padding."""
    return [
        Axis(target, source, 1, stride, [[(tap, dilation * tap - before) for tap in range(kernel)]])
        for target, source, kernel, stride, dilation, (before, _) in _axes(problem)
    ]


def transposed_axes(problem):
    """(vertical, horizontal) of the transpose: output pixel (i + padding - dilation * tap) / stride has read input pixel i."""
    axes = []
    for target, source, kernel, stride, dilation, (before, _) in _axes(problem):
        reaches = [[(tap, phase + before - dilation * tap) for tap in range(kernel)] for phase in range(stride)]
        taps = [
            sorted(((tap, n // stride) for tap, n in phase if n % stride == 0), key=lambda pair: pair[1]) for phase in reaches
        ]
        axes.append(Axis(source, target, stride, 1, taps))
    return axes


def _axes(problem):
    return zip(
        (problem.P, problem.Q),
        (problem.H, problem.W),
        (problem.R, problem.S),
        problem.stride,
        problem.dilation,
        problem.padding,
        strict=True,
    )


class Bands(NamedTuple):
    """How images are cut into bands; all lengths in pixels.

    Band b is target rows ``b * rows`` …; its frame is source rows ``b * advance + top`` …, ``height`` of them, and source
    columns ``left`` …, ``width`` of them.  ``framed`` tells whether the frame reaches beyond the image anywhere, so that it
    must be copied; else the tables address the image itself.
    """

    number: int
    rows: int
    advance: int
    top: int
    left: int
    height: int
    width: int
    framed: bool


BAND_PIXELS = 96
"""Target pixels in a band: enough that the weights, streamed from the second cache once a band, are not the bottleneck."""


def band_pixels(pixels, channels, itemsize, threads):
    """Pixels for a band of a batch of ``pixels``, of which each has ``channels`` numbers that are read and written.

    Where a band is little work its beginning counts, above all on several threads, which then wait for each other: few
    channels make long bands, as far as a quarter of the second cache holds them and every thread keeps several.
    """
    return max(BAND_PIXELS, min(caches().level2 // 4 // (channels * itemsize), pixels // (4 * threads)))


def bands_of(vertical, horizontal, pixels=BAND_PIXELS, unit=1, framed=False):
    """The bands of a direction with at least ``pixels`` pixels each, if the image has as many: as even as may be.

    ``unit`` divides their rows; ``framed`` asks for a frame even where it stays within the image.
    """
    unit = lcm(unit, vertical.step)
    rows = -(-vertical.target // max(1, vertical.target * horizontal.target // pixels))
    rows = max(1, -(-rows // unit)) * unit
    height, width = vertical.extent(rows), horizontal.extent(horizontal.target)
    inside = (
        vertical.first >= 0
        and vertical.advance * (-(-vertical.target // vertical.step) - 1) + vertical.last < vertical.source
        and horizontal.first >= 0
        and horizontal.extent(horizontal.target) + horizontal.first <= horizontal.source
    )
    if inside and not framed:  # address the image where it is: its own rows, from its first column on
        return Bands(
            -(-vertical.target // rows), rows, vertical.advance * (rows // vertical.step), 0, 0, 0, horizontal.source, False
        )
    advance = vertical.advance * (rows // vertical.step)
    return Bands(-(-vertical.target // rows), rows, advance, vertical.first, horizontal.first, height, width, True)


SPARE = 32
"""More than the rows of any tile: the last one reads on behind the last pixel."""


class Tables(NamedTuple):
    """What the kernel reads, all of 64-bit integers, offsets in elements.

    phases : (phases, 10) first pixel, columns, row phase, row step, weight rows before, weight rows, slices from, to, classes
        from, to
    classes : (classes, 4) pixels of the phase from, to, segments from, to: those that do not lie in the padding for them
    sources, targets : (pixels,) offsets of each pixel of a band in the frame and in the target image
    slices : (slices, 2) segments from, segments to
    segments : (segments, 3) offset in the frame, length, first row in the weight panel: runs of channels that are contiguous
        for all pixels; one more ends the table
    taps : for each phase, (taps, 2) r, s in the order of the panels
    """

    phases: np.ndarray
    classes: np.ndarray
    sources: np.ndarray
    targets: np.ndarray
    slices: np.ndarray
    segments: np.ndarray
    taps: list[np.ndarray]


def tables_of(vertical, horizontal, bands, source_channels, target_channels, groups, slice_rows, tile_rows=None, apart=False):
    """The tables of one direction; ``slice_rows`` bounds the weight rows that one pass over a band uses.

    tile_rows: those of the tile that runs over the pixels, if it may leave out taps that lie in the padding
    apart: whether each group has a frame of its own, in which its channels alone lie side by side
    """
    depth = source_channels // groups
    pitch = depth if apart else source_channels
    phases, classes, sources, targets, slices, segments, taps = [], [], [], [], [], [], []
    rows_before = 0
    for (i, vertical_taps), (j, horizontal_taps) in product(enumerate(vertical.taps), enumerate(horizontal.taps)):
        y, x = (axis.ravel() for axis in np.mgrid[i : bands.rows : vertical.step, j : horizontal.target : horizontal.step])
        columns = len(range(j, horizontal.target, horizontal.step))
        row, column = y // vertical.step * vertical.advance, x // horizontal.step * horizontal.advance
        first_slice, first_class, first_pixel = len(slices), len(classes), sum(map(len, sources))
        sources.append((row * bands.width + column) * pitch)
        targets.append((y * horizontal.target + x) * target_channels)
        taps.append(integer([(r, s) for (r, _), (s, _) in product(vertical_taps, horizontal_taps)], 2))
        alike = _rows_alike(vertical, i, bands, columns, tile_rows)
        runs, starts = [], []
        for _, up in vertical_taps:
            starts.append(len(segments) + len(runs))
            for _, across in horizontal_taps:
                offset = ((up - bands.top) * bands.width + across - bands.left) * pitch
                joins = pitch == depth and runs and sum(runs[-1]) == offset and runs[-1][1] + depth <= max(slice_rows, depth)
                if joins and (len(alike) == 1 or starts[-1] < len(segments) + len(runs)):
                    runs[-1][1] += depth
                else:
                    runs.append([offset, depth])
        starts.append(len(segments) + len(runs))
        classes += [(from_, to, starts[first], starts[last]) for from_, to, first, last in alike]
        slices += _slices(runs, len(segments), slice_rows)
        lengths = np.cumsum([0] + [length for _, length in runs])
        segments += [(*run, start) for run, start in zip(runs, lengths, strict=False)]
        rows, places = len(taps[-1]) * depth, (first_slice, len(slices), first_class, len(classes))
        phases.append((first_pixel, columns, i, vertical.step, rows_before, rows, *places))
        rows_before += rows
    sources, targets = (np.concatenate([*table, np.zeros(SPARE, np.intp)]) for table in (sources, targets))
    segments = integer([*segments, (0, 0, 0)], 3)
    return Tables(integer(phases, 10), integer(classes, 4), sources, targets, integer(slices, 2), segments, taps)


def _rows_alike(vertical, phase, bands, columns, tile_rows):
    """(pixels from, to, vertical taps from, to) of rows of a phase that leave out the same taps: those in the padding.

    All rows are alike where an image has several bands, or where tiles that end with each class would be more work.
    """
    rows, taps = -(-max(0, bands.rows - phase) // vertical.step), len(vertical.taps[phase])
    whole = [(0, rows * columns, 0, taps)]
    if tile_rows is None or bands.number > 1:
        return whole
    alike = [(from_ * columns, to * columns, *taps) for from_, to, *taps in runs_alike(vertical, phase, rows)]
    work = [sum(-(-(to - from_) // tile_rows) * (last - first) for from_, to, first, last in rows) for rows in (alike, whole)]
    return alike if work[0] < work[1] else whole


def runs_alike(axis, phase, count):
    """(pixels from, to, taps from, to) of ``count`` pixels of a phase: runs of those that meet the same taps in the image."""
    alike = []
    for i in range(count):
        meets = [t for t, (_, reach) in enumerate(axis.taps[phase]) if 0 <= i * axis.advance + reach < axis.source]
        taps = (meets[0], meets[-1] + 1) if meets else (0, 0)
        if alike and alike[-1][2:] == taps:
            alike[-1] = (alike[-1][0], i + 1, *taps)
        else:
            alike.append((i, i + 1, *taps))
    return alike


def integer(rows, width):
    """A table of ``width`` columns, of 64-bit integers."""
    return np.array(rows, np.intp).reshape(-1, width)


def _slices(runs, first, slice_rows):
    """(from, to) of slices of consecutive runs, of at most ``slice_rows`` weight rows where runs allow it."""
    slices, begin, filled = [], 0, 0
    for index, (_, length) in enumerate(runs):
        if filled and filled + length > slice_rows:
            slices.append((first + begin, first + index))
            begin, filled = index, 0
        filled += length
    return [*slices, (first + begin, first + len(runs))]


def pixels_as_rows(problem):
    """A 1x1 convolution over maps as one over a single column of their pixels: with channels last of those of all images."""
    if not problem.pointwise or not problem.N:
        return problem
    images = problem.N if problem.layout == "NCHW" else 1
    return replace(problem, N=images, H=problem.N // images * problem.H * problem.W, W=1)


def upright(problem):
    """Images of one row as images of one column, which in memory are the same: bands and blocks are some of their rows."""
    if problem.P * problem.H * problem.R > 1 or problem.stride != (1, 1):
        return problem
    turned = {name: getattr(problem, name)[::-1] for name in ("padding", "dilation")}
    return replace(problem, H=problem.W, W=1, R=problem.S, S=1, **turned)


def as_column(problem):
    """``pixels_as_rows``, and images of one row that leaves the second cache as ``upright``, so that it is cut into bands.

    On a Granite Rapids the gradient of the input of 1x8000 pixels under 1x2, dilated by 64, took 0.92 of the time, of 1x4000
    under 1x3 0.88; forward and backward 1x500 and 1x1000, which stay, 1.03 to 1.05.
    """
    whole = pixels_as_rows(problem)
    row_bytes = whole.W * (whole.C + whole.K) * np.dtype(whole.dtype).itemsize
    return whole if whole.layout == "NCHW" or row_bytes <= caches().level2 // 2 else upright(whole)


def parts_of(problem, vertical, threads, unit):
    """The images of ``pixels_as_rows(problem)`` and their axis, with an only one cut into a part for each thread.

    Parts begin at multiples of ``unit`` and are all as long, but the last.  Without them one of two threads had up to 1.13
    times as many pixels of maps of 7x7 as the other, because their bands are so few.
    """
    if not problem.pointwise or problem.N != 1 or vertical.target < threads * BAND_PIXELS:
        return problem.N, vertical
    rows = -(-vertical.target // threads // unit) * unit
    return -(-vertical.target // rows), vertical._replace(target=rows, source=rows)


def rows_read(problem):
    """How a 1x1 convolution walks through a plane of its input: (pixels of the plane, of a row, to the next row, to the next).

    Without a stride a whole image is one row.
    """
    plane, (down, across) = problem.H * problem.W, problem.stride
    return (plane, plane, plane, 1) if (down, across) == (1, 1) else (plane, problem.Q, down * problem.W, across)
