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
"""More than the rows of any tile."""


class Tables(NamedTuple):
    """What the kernel reads, all of 64-bit integers, offsets in elements.

    phases : (phases, 8) first pixel, columns, row phase, row step, weight rows before, weight rows, slices from, slices to
    sources, targets : (pixels,) offsets of each pixel of a band in the frame and in the target image
    slices : (slices, 3) segments from, segments to, first row of the weight panel
    segments : (segments, 2) offset in the frame, length: runs of channels that are contiguous for all pixels
    taps : for each phase, (taps, 2) r, s in the order of the panels
    """

    phases: np.ndarray
    sources: np.ndarray
    targets: np.ndarray
    slices: np.ndarray
    segments: np.ndarray
    taps: list[np.ndarray]


def tables_of(vertical, horizontal, bands, source_channels, target_channels, groups, slice_rows):
    """The tables of one direction; ``slice_rows`` bounds the weight rows that one pass over a band uses."""
    depth = source_channels // groups
    phases, sources, targets, slices, segments, taps = [], [], [], [], [], []
    rows_before = 0
    for (i, vertical_taps), (j, horizontal_taps) in product(enumerate(vertical.taps), enumerate(horizontal.taps)):
        y, x = (axis.ravel() for axis in np.mgrid[i : bands.rows : vertical.step, j : horizontal.target : horizontal.step])
        columns = len(range(j, horizontal.target, horizontal.step))
        row, column = y // vertical.step * vertical.advance, x // horizontal.step * horizontal.advance
        first_slice, first_pixel = len(slices), sum(map(len, sources))
        sources.append((row * bands.width + column) * source_channels)
        targets.append((y * horizontal.target + x) * target_channels)
        taps.append(integer([(r, s) for (r, _), (s, _) in product(vertical_taps, horizontal_taps)], 2))
        runs = []
        for (_, up), (_, across) in product(vertical_taps, horizontal_taps):
            offset = ((up - bands.top) * bands.width + across - bands.left) * source_channels
            if groups == 1 and runs and sum(runs[-1]) == offset and runs[-1][1] + depth <= max(slice_rows, depth):
                runs[-1][1] += depth
            else:
                runs.append([offset, depth])
        slices += _slices(runs, len(segments), slice_rows)
        segments += runs
        rows = len(taps[-1]) * depth
        phases.append((first_pixel, columns, i, vertical.step, rows_before, rows, first_slice, len(slices)))
        rows_before += rows
    beyond = np.zeros(SPARE, np.intp)  # the last tile reads on behind the last pixel
    sources, targets = np.concatenate([*sources, beyond]), np.concatenate([*targets, beyond])
    return Tables(integer(phases, 8), sources, targets, integer(slices, 3), integer(segments, 2), taps)


def integer(rows, width):
    """A table of ``width`` columns, of 64-bit integers."""
    return np.array(rows, np.intp).reshape(-1, width)


def _slices(runs, first, slice_rows):
    """(from, to, first weight row) of slices of consecutive runs, of at most ``slice_rows`` rows where runs allow it."""
    slices, begin, row, filled = [], 0, 0, 0
    for index, (_, length) in enumerate(runs):
        if filled and filled + length > slice_rows:
            slices.append((first + begin, first + index, row))
            begin, row, filled = index, row + filled, 0
        filled += length
    return [*slices, (first + begin, first + len(runs), row)]


def pixels_as_rows(problem):
    """A 1x1 convolution over maps as one over a single column of their pixels: with channels last of those of all images."""
    if not problem.pointwise or not problem.N:
        return problem
    images = problem.N if problem.layout == "NCHW" else 1
    return replace(problem, N=images, H=problem.N // images * problem.H * problem.W, W=1)


def rows_read(problem):
    """How a 1x1 convolution walks through a plane of its input: (pixels of the plane, of a row, to the next row, to the next).

    Without a stride a whole image is one row.
    """
    plane, (down, across) = problem.H * problem.W, problem.stride
    return (plane, plane, plane, 1) if (down, across) == (1, 1) else (plane, problem.Q, down * problem.W, across)
