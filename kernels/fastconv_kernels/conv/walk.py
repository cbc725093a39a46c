"""A walk through an image: the order in which depthwise kernels meet its pixels, which they read where they are.

They do so little with each pixel that where it comes from decides.  A *strip* is so many columns and channels that the rows
under the window lie in the nearest cache while the window moves down: each row is fetched once from afar, and read again from
nearby.  Where the third cache is far (``goes_in_order``) rows are read whole, and asked for in order.
"""

from math import prod
from typing import NamedTuple

import numpy as np

from ..cpu.workspace import caches, even, far_caches

LEVEL1_SHARE = 0.8
"""Of the first cache, for the rows under the window and those that come next; beside them are weights and outputs.

Measured forward, 16 x 56 x 56 x 128: strips of 16 pixels, which fill it so far, take 0.9 times as long as strips of 8; with
stride 2, 16 x 112 x 112 x 64, where two rows come next, 16 take 1.05 times as long as 8.
"""

LEVEL3_SHARE = 0.6
"""Of the third cache: images that need more are fetched ahead of time and written past the caches.

Chosen from a trial in C, not of these kernels: forward, 16 x 28 x 28 x 256, which needs 25 of 32 MB, took two thirds of the
time so; with stride 2, 16 MB, fetching ahead took a quarter more.
"""

LEVEL2_SHARE = 0.5
"""Of the second cache: the rows of a band, where they are all read once before the first is computed with.

Measured with stride 2, 16 x 112 x 112 x 64 and 16 x 56 x 56 x 128: so they take 0.80 and 0.87 times as long as rows that are
read where windows meet them, and bands half as large 0.81 and 0.90.  A plain copy of such images, which the processor
foresees, takes a third less than this; mixed with it, the two orders are both not foreseen, and that takes twice as long.
Two threads, of which each waits less, take 1.0 and 1.4 times as long so: there rows are read where windows meet them.
"""

PLANES_SHARE = 0.4
"""Of the first cache: planes whose tiles at one place are computed before those at the next; of the weight's gradient."""

BROUGHT_SHARE = 0.4
"""Of the third cache: planes that need more are brought near, a few at a time, before they are computed, from first to last.

Measured with stride 2, 16 x 64 x 112 x 112, 16 x 128 x 56 x 56 and 16 x 256 x 28 x 28: the gradient of the weight takes 0.68,
0.80 and 0.97 times as long as when lines are asked for alone; without a stride, and of smaller planes, between 0.9 and 1.05.
Two threads take up to 1.2 times as long so, one where the third cache is far 1.0 to 1.13: there lines are asked for alone.
"""


AHEAD_BYTES = 16 * 1024
"""Beyond the rows under the window; with none and with 64 KiB layers take 0.95 to 1.15 times as long."""

IN_ORDER_SHARE = 0.25
"""Of the second cache: rows under a window that is as wide as the image."""


def goes_in_order(problem, vertical, row):
    """Whether whole rows, of so many elements, are computed in turn, and what comes after them is asked for meanwhile.

    Measured on a Granite Rapids, MobileNet's layers with 16 images: forward 0.75 to 1.0 and the gradient of the input 0.78 to
    1.0 of the time of strips that are read as they are met, of the weight 0.72 to 1.0.
    """
    memory = caches()
    rows = (vertical.last - vertical.first + 1) * row * np.dtype(problem.dtype).itemsize
    return far_caches() and rows <= IN_ORDER_SHARE * memory.level2 and problem.bytes > memory.level2


class Order(NamedTuple):
    """What is asked for with each tile of whole rows: lines, and where they begin, elements from a row's own place.

    step: elements of the source from one row of targets to the next
    """

    step: int
    ahead: int
    lines: int
    ahead_target: int
    lines_target: int


NO_ORDER = Order(0, 0, 0, 0, 0)


def order_of(vertical, source, target, channels, tile, streamed):
    """The order of rows of so many pixels; of targets that are written past the caches nothing is asked for."""
    tiles = -(-target // tile.rows) * -(-channels // tile.columns)
    step = vertical.advance * source * channels // vertical.step
    further = AHEAD_BYTES // tile.itemsize
    lines, lines_target = (-(-size // (tiles * tile.lanes)) for size in (step, target * channels))
    return Order(step, (vertical.last + 1) * source * channels + further, lines, further, 0 if streamed else lines_target)


def exceed_caches(problem, part=LEVEL3_SHARE):
    """Whether the images of ``problem``, read and written, are more than this part of the third cache."""
    elements = prod(problem.x_shape) + prod(problem.out_shape)
    return elements * np.dtype(problem.dtype).itemsize > part * caches().level3


class Walk(NamedTuple):
    """Target pixels of a strip, channels of a strip, whether the images are larger than the caches, whether the next rows
    are asked for ahead of time, and else how many target rows are a band that is brought near before it is computed, or 0.

    Measured, 16 x 112 x 112 x 64 with stride 2: to ask, for two rows at a time, takes 1.3 times as long as to leave it to the
    processor; without stride, 16 x 112 x 112 x 32, to leave it takes 1.6 times as long, to bring bands 1.3 times.
    """

    pixels: int
    channels: int
    streamed: bool
    asked: bool
    band: int


def walk_of(vertical, horizontal, window, channels, tile, total_bytes, others=0):
    """The walk for one direction in tiles of ``window``.

    total_bytes: of all images; others: rows of strips that lie in the first cache besides those of the source
    """
    memory = caches()
    streamed = total_bytes > LEVEL3_SHARE * memory.level3
    asked = streamed and vertical.advance == 1
    room, rows = int(memory.level1 * LEVEL1_SHARE) // tile.itemsize, vertical.last - vertical.first + 1 + asked
    across = window.last - window.first + 1
    beside = across - window.pixels // horizontal.step * horizontal.advance
    block = even(channels, room // rows // across, tile.columns)
    limit = (room // (rows + others) // block - beside) * horizontal.step // horizontal.advance
    strip = even(horizontal.target, limit, window.pixels)
    row = vertical.advance * horizontal.source * channels * tile.itemsize // vertical.step
    band = max(vertical.step, int(memory.level2 * LEVEL2_SHARE) // row) if streamed and not asked else 0
    return Walk(strip, block, streamed, asked, min(band, vertical.target))


def row_table(axis):
    """(rows, meetings): target row p sums the rows meetings[rows[p, 0] : rows[p + 1, 0]], each (source row, row of taps).

    Source rows from rows[p, 1] to rows[p + 1, 1] come under the window with target row p + 1.
    """
    rows, meetings = [], []
    for p in range(axis.target + 1):
        first = p // axis.step * axis.advance
        rows.append((len(meetings), first + axis.last + 1))
        met = [(first + reach, tap) for tap, reach in axis.taps[p % axis.step]]
        meetings += [(row, tap) for row, tap in met if 0 <= row < axis.source and p < axis.target]
    return np.array(rows, np.intp), np.array(meetings, np.intp).reshape(-1, 2)


def planes_together(planes, tiles, itemsize):
    """How many planes are walked through together, and the elements of each side asked for with a tile.

    planes: elements of a plane of either side; tiles: in which a plane is computed
    """
    room = int(caches().level1 * PLANES_SHARE) // itemsize
    return max(1, room // sum(planes)), [-(-plane // tiles) for plane in planes]
