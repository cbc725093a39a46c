"""Tables for the gradient of the weight: which pixels each tap meets, and how the rows of the weight are cut into tiles."""

from typing import NamedTuple

import numpy as np

from .geometry import integer

TAP_NUMBERS, TILE_NUMBERS = 5, 4
"""Columns of the tables of taps and tiles."""


class Tables(NamedTuple):
    """What the products read, of 64-bit integers, offsets in elements.

    sources, places, targets : (entries,) offsets of a pixel in the image, where A is and in the packed gradient, for a block
    taps : (taps, 5) offset in the image, first entry, entries for each row, the rows of the gradient from, to where it exists
    tiles : (tiles, 4) tap, channel, row of the weight, rows that exist
    """

    sources: np.ndarray
    places: np.ndarray
    targets: np.ndarray
    taps: np.ndarray
    tiles: np.ndarray


def tables_of_images(problem, tile, rows, copied):
    """The tables for images where they are: each tap visits the pixels at which it lies in the image."""
    (down, across), (gap_down, gap_across) = problem.stride, problem.dilation
    (above, _), (beside, _) = problem.padding
    pitch, channels = problem.W * problem.C, problem.C // problem.groups
    sources, targets, columns = [], [], []
    for s in range(problem.S):
        low, high = inside(problem.W, problem.Q, across, s * gap_across - beside)
        p, q = np.mgrid[:rows, low:high]
        columns.append((sum(map(len, sources)), high - low))
        sources.append((p * down * pitch + (q * across + s * gap_across - beside) * problem.C).ravel())
        targets.append((p * problem.Q + q).ravel())
    taps = []
    for r in range(problem.R):
        low, high = inside(problem.H, problem.P, down, r * gap_down - above)
        taps += [((r * gap_down - above) * pitch, first, line, low, high) for first, line in columns]
    sources, targets = np.concatenate(sources), np.concatenate(targets)
    places = targets * tile.rows if copied else sources
    return Tables(sources, places, targets, integer(taps, 5), tile_table(tile, len(taps), channels))


def tables_of_frames(problem, tile, rows):
    """The tables for frames, in which the taps of a row are side by side: one tap for each row, of many channels."""
    channels, width = problem.C // problem.groups, frame_extent(problem, rows)[1]
    run = problem.S * channels
    p, q = np.mgrid[:rows, : problem.Q]
    places = ((p * problem.stride[0] * width + q * problem.stride[1]) * channels).ravel()
    taps = [(r * problem.dilation[0] * width * channels, 0, problem.Q, 0, problem.P) for r in range(problem.R)]
    targets = np.arange(rows * problem.Q)
    return Tables(places, places, targets, integer(taps, 5), tile_table(tile, problem.R, run))


def tile_table(tile, taps, channels):
    """(tap, channel, row of the weight, rows that exist) of every tile."""
    starts = range(0, channels, tile.rows)
    return integer([(t, c, t * channels + c, min(tile.rows, channels - c)) for t in range(taps) for c in starts], 4)


def inside(source, target, stride, reach):
    """The (first, end) of ``target`` pixels i at which stride * i + reach is one of ``source`` pixels."""
    first = min(target, max(0, -(reach // stride)))
    return first, max(first, min(target, (source - 1 - reach) // stride + 1))


def frame_extent(problem, rows):
    """(height, width) of the frame of some rows of the gradient."""
    return tuple(
        (target - 1) * stride + (kernel - 1) * dilation + 1
        for target, stride, kernel, dilation in zip(
            (rows, problem.Q), problem.stride, (problem.R, problem.S), problem.dilation, strict=True
        )
    )
