"""How the gradient of the weight is cut: the weight into pieces and tiles, the pixels into parts and blocks.

All of it depends on the problem and the caches alone, never on the number of threads: the order of a sum is always the same.
"""

from math import gcd
from typing import NamedTuple

import numpy as np

from ..cpu.tile import Tile
from ..cpu.workspace import LINE_BYTES, caches, even, far_caches

TILES = (8, 2), (14, 1), (16, 1), (10, 1), (6, 2)
"""(rows, vectors) for long rows of channels: eight or sixteen of them never lie on two cache lines.

On a Granite Rapids (16, 1) took 0.87 of the time of (8, 1) for 16 channels and 16 columns of 28x28, 9x9 taps, 0.88 for 32 of
112x112, 1x1, and 0.90 for 32 groups of 16 and 16 of 14x14.
"""

WHOLE_TILES = (6, 4), (8, 3)
"""The same where the columns of the gradient are one panel, which then is not packed, and the image is read once.

A window of 1x1 meets each pixel of the image once, so that reading it counts most: (6, 4) took 0.8 times as long as (8, 2) for
32 channels of 112x112 pixels and 64 columns, 0.84 times for 64 of 56x56, 0.94 for 192 of 28x28, 1.04 for 512 of 14x14.
"""

LOW_TILES = (14, 2), (8, 3), (6, 4), (11, 2), (9, 2), (8, 2), (7, 2), (14, 1), (10, 1), (6, 2), (4, 3), (3, 2), (5, 1)
"""(rows, vectors) for the taps of a row of images of few channels."""

WHOLE_LOW_TILES = (6, 4), (5, 4)
"""The same where the columns are one panel and a row of taps no more than two tiles.

Of three channels with 64 columns 3x3 taps took 0.87 of (9, 2)'s time, 7x7 taps 1.06 of (7, 2)'s.
"""

GROUP_TILES = (24, 1), (8, 2)
"""The same for the taps of a row of framed groups of channels."""

ASKED_SUMS = 24
"""The most vectors of a tile whose loop over framed pixels asks for more: with 27 they leave the registers."""

PIECE_ROWS, PIECE_COLUMNS = 256, 256
"""The largest piece of the weight."""

PIXELS = 784
"""The most pixels in a block: more are not needed to hide the loads and stores of the sums."""

NEAR_SHARE = 0.75
"""Of the first cache, where the second is slow, for a panel of the gradient and a line of each pixel of the image.

Each tap of a window reads both again.  On a Granite Rapids 160 channels of 17x17 with 1x7 taps took 0.87 of the time of blocks
of ``PIXELS``, 16 of 28x28 with 9x9 taps 0.85, 256 of 1x128 with 1x5 taps 0.93.
"""

ASKED_SHARE = 16
"""Of the second cache, for a block of a 1x1 window where caches are far: the next one is asked for meanwhile.

Measured on a Granite Rapids, all layers of 16 images: they took 0.83 of the time of blocks of ``PIXELS`` of which nothing was
asked for, those of 16 output channels 0.6; with blocks of 1/12 or 1/24 of the cache 0.97 to 1.1 of this.
"""

ASKED_WIDER = 2
"""Times as many columns are in such a piece, and as much in its blocks where it has more than ``PIECE_COLUMNS``.

The image is read half as often then: 13 layers of 384 and more columns took 0.90 to 1.01 of the time, on one thread and two.
Half as many pieces are left to threads, 2 to 16 with the parts; with twice ``PARTS_BYTES``, which leaves as many as before in
some layers, those took 1.03 times as long.
"""

PARTS = 16
"""So many parts times pieces are enough: as many as there are threads to use them on common machines."""

PART_PIXELS = 1280
"""The fewest pixels in a part: some blocks, between which its sums are loaded and stored."""

PARTS_BYTES = 1 << 21
"""The most memory for the sums of all parts: they are written and read once more."""


TOGETHER, TOGETHER_FRAMED = 0.25, 0.625
"""The most of the second cache for the sums of groups that meet a block of pixels together.

Those of framed groups are met by few blocks: on a Granite Rapids 32 groups of 32 channels of 7x7, 1.2 MB, took 0.94 of
the time.
"""

FEW_SETS_BYTES = 512
"""Pixels so far apart are in few sets of a first cache: then groups are framed."""

MOST_FRAMED = 32
"""Channels of a group that are framed."""


class Cuts(NamedTuple):
    """How the work is cut.

    parts : of the pixels, each with sums of its own
    pieces_down, pieces_across, columns : pieces of the weight of a group, columns in one
    bands : of an image, that parts are counted in
    images, rows : in a block of pixels
    """

    parts: int
    pieces_down: int
    pieces_across: int
    columns: int
    bands: int
    images: int
    rows: int


def cuts_of(problem, tile, tiles, run, framed, asks):
    """The cuts for a weight of ``tiles`` tiles down a group, ``run`` channels of which lie side by side in the image.

    asks: whether blocks are asked for while the one before them is computed with
    """
    memory, width = caches(), problem.K // problem.groups
    columns = even(width, PIECE_COLUMNS * (ASKED_WIDER if asks else 1), tile.columns)
    piece_rows = min(PIECE_ROWS, memory.level2 // 4 // (columns * tile.itemsize))
    across, down = -(-width // columns), -(-tiles // -(-piece_rows // tile.rows))
    items = problem.groups * across * down
    enough = problem.N * problem.P * problem.Q // PART_PIXELS, PARTS_BYTES // (problem.depth * problem.K * tile.itemsize)
    parts = power_of_two(max(1, min(power_of_two(-(-PARTS // items)), *enough)) + 1) // 2
    if parts == 1 and items < PARTS:
        down = min(tiles, power_of_two(down))
    source_bytes, panel_bytes = min(run, piece_rows) * tile.itemsize, tile.columns * tile.itemsize
    if framed:  # a panel of the gradient stays in the first cache
        pixels = min(memory.level1 * 2 // 3 // panel_bytes, memory.level2 // 4 // source_bytes)
        if problem.groups > 1:  # and so does the frame
            pixels = min(pixels, memory.level1 * 3 // 4 // (panel_bytes + problem.C // problem.groups * tile.itemsize))
    elif asks:
        block_bytes = memory.level2 // ASKED_SHARE * (ASKED_WIDER if columns > PIECE_COLUMNS else 1)
        together = block_bytes // (source_bytes + columns * tile.itemsize)
        pixels = min(max(1, together), problem.P * problem.Q)  # of one image
    else:  # both operands stay in the second, the more pixels the fewer loads and stores of sums
        pixels = min(PIXELS, memory.level2 * 5 // 8 // source_bytes)
        if far_caches() and problem.R * problem.S > 1:
            pixels = min(pixels, int(memory.level1 * NEAR_SHARE) // (panel_bytes + LINE_BYTES))
    if groups_together(problem):
        pixel_bytes = (problem.C * problem.stride[0] * problem.stride[1] + problem.K) * tile.itemsize
        pixels = min(pixels, max(1, memory.level2 // 2 // pixel_bytes))
    images, rows = even(-(-problem.N // parts), pixels // (problem.P * problem.Q), 1), problem.P
    if pixels < problem.P * problem.Q:  # as many bands in each part
        bands, unit = -(-problem.P // max(1, pixels // problem.Q)), parts // gcd(parts, problem.N)
        images, rows = 1, -(-problem.P // (-(-bands // unit) * unit))
    bands = -(-problem.P // rows)
    return Cuts(max(1, min(parts, problem.N * bands)), down, across, columns, bands, images, rows)


def groups_together(problem):
    """Whether all groups meet a block of pixels before the next one does: their sums stay in the second cache.

    The few channels of a group are short runs of a pixel, and those of the next group come with them.  On a Granite
    Rapids 32 groups of 16 channels of 14x14 and of 8 of 28x28, 3x3, took 0.85 and 0.8 of the time.
    """
    if problem.groups == 1 or problem.R * problem.S == 1:
        return False
    share = TOGETHER_FRAMED if frames_groups(problem) else TOGETHER
    return problem.depth * problem.K * np.dtype(problem.dtype).itemsize <= caches().level2 * share


def frames_groups(problem):
    """Whether each group of channels is framed: with few of them between those of others.

    On a Granite Rapids 32 groups of 16 channels of 14x14 took 0.71 of the time, of 28x28 with a stride of 2 0.63, 32 of 32 of
    7x7 0.72; where pixels are no such distance apart 0.97 to 1.3: taps in the padding are not left out.
    """
    few = problem.groups > 1 and problem.C // problem.groups <= MOST_FRAMED and problem.layout == "NHWC"
    far = problem.C * np.dtype(problem.dtype).itemsize % FEW_SETS_BYTES == 0
    return few and far and problem.S > 1 and problem.dilation[1] == 1


def asks_of_frames(problem, tile):
    """Whether the gradient's next block is asked for while the one before it meets framed images.

    On a Granite Rapids 3 channels of 224x224 pixels, 16 images, took 0.61 of the time with a stride of 2 and 32 columns.
    """
    far = far_caches() and problem.image_bytes > caches().level2
    return far and tile.rows * tile.vectors <= ASKED_SUMS


def tiles_for(problem, width, run):
    """The shapes of tiles among which one is chosen for ``width`` columns; run: of taps in a row, of few channels, or 0.

    Where caches are far wide tiles, which read less from the second for each multiply-add, took 0.86 to 0.95 of the time.
    """
    tiles = [(shape, Tile(*shape, problem.dtype)) for shape in (WHOLE_LOW_TILES if run else WHOLE_TILES)]
    whole = tuple(shape for shape, tile in tiles if tile.fits() and -(-width // tile.lanes) == tile.vectors)
    if run and problem.groups > 1:
        return GROUP_TILES
    if run:
        return whole if whole and run <= 2 * whole[0][0] else LOW_TILES
    if not whole and far_caches() and problem.R * problem.S == 1:
        return TILES + WHOLE_TILES
    return whole if whole and problem.R * problem.S == 1 else TILES + whole


def power_of_two(count):
    """The least power of two that is not below ``count``."""
    return 1 << (count - 1).bit_length()
