"""A ring of rows of an image: what lies under a window that moves down, a few channels of it, in a frame of zeros.

A depthwise kernel does so little with each pixel that where it comes from decides.  In the ring the pixels of a *block* of
channels lie side by side, on cache lines, bordered by zeros; the rows under the window together stay in the nearest cache.  A
row is copied into the ring once, over the one that the window has left.
"""

from typing import NamedTuple

import numpy as np

from ..cpu.compile import inlined
from ..cpu.simd import load_first, prefetch, store
from ..cpu.workspace import caches, even

LEVEL1_SHARE = 0.5
"""Of the first cache, for the ring; beside it are weights and outputs."""


class Ring(NamedTuple):
    """Lengths in pixels: rows of the ring; least and greatest reach of the window; columns and the first that is no border;
    channels of a block, and number of blocks; whether rows are fetched ahead.
    """

    rows: int
    first: int
    last: int
    columns: int
    left: int
    width: int
    blocks: int
    ahead: int

    @property
    def size(self):
        """Elements."""
        return self.rows * self.columns * self.width


def ring_of(vertical, horizontal, columns, channels, tile, total_bytes):
    """The ring for one direction; ``columns``: least and greatest that a row of tiles reads; total_bytes: of all images.

    Images that the third cache does not hold are read in whole rows where the second cache has room for them, which suits
    memory, and ahead of time.
    """
    memory = caches()
    streamed = total_bytes > memory.level3 // 2
    left, right = max(0, -columns[0]), max(horizontal.source - 1, columns[1])
    rows, across = vertical.last - vertical.first + 1, left + right + 1
    room = memory.level2 // 8 if streamed else memory.level1 * LEVEL1_SHARE
    width = even(channels, int(room) // (rows * across * tile.itemsize), tile.columns)
    return Ring(rows, vertical.first, vertical.last, across, left, width, -(-channels // width), int(streamed))


def row_table(axis, ring_rows):
    """(begins, meetings): target row p sums the rows meetings[begins[p] : begins[p + 1]], each (row of the ring, tap row)."""
    begins, meetings = [0], []
    for p in range(axis.target):
        first = p // axis.step * axis.advance
        rows = [(first + reach, tap) for tap, reach in axis.taps[p % axis.step]]
        meetings += [(row % ring_rows, tap) for row, tap in rows if 0 <= row < axis.source]
        begins.append(len(meetings))
    return np.array(begins, np.intp), np.array(meetings, np.intp).reshape(-1, 2)


@inlined
def stage_rows(tile, ring, image, extent, count, first, end, frame):
    """Copy rows ``first`` … ``end`` of ``count`` channels from ``image`` into the ring; extent: (columns, channels)."""
    columns, channels = extent
    rows, _, _, across, left, width, _, ahead = ring
    for y in range(first, end):
        source, target = image + y * columns * channels, frame + (y % rows * across + left) * width
        stage_row(tile, source, columns, channels, count, width, ahead, target)


@inlined
def stage_row(tile, source, pixels, channels, count, width, ahead, target):
    """target[pixel, 0:width] = source[pixel, 0:count], then zeros; ``ahead``: the next row is brought nearer."""
    below = pixels * channels
    for _ in range(pixels):
        if count < width:
            for t in range(0, width, tile.lanes):
                store(target + t, load_first(source + t, count - t))
        else:
            for t in range(0, width, tile.lanes):
                store(target + t, load_first(source + t, tile.lanes))
        if ahead:
            for t in range(0, width, tile.lanes):
                prefetch(source + (below + t))
        source, target = source + channels, target + width


@inlined
def prefetch_pixels(tile, place, pixels, channels, count):
    """Bring ``count`` channels of some pixels nearer."""
    for _ in range(pixels):
        for k in range(0, count, tile.lanes):
            prefetch(place + k)
        place = place + channels
