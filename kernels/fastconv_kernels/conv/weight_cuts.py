"""How the gradient of the weight is cut: the weight into pieces, the pixels into parts and blocks.

All of it depends on the problem and the caches alone, never on the number of threads: the order of a sum is always the same.
"""

from math import gcd
from typing import NamedTuple

from ..cpu.workspace import caches, even

PIECE_ROWS, PIECE_COLUMNS = 256, 256
"""The largest piece of the weight."""

PIXELS = 784
"""The most pixels in a block: more are not needed to hide the loads and stores of the sums."""

ASKED_SHARE = 16
"""Of the second cache, for a block of a 1x1 window where caches are far: the next one is asked for meanwhile.

Measured on a Granite Rapids, all layers of 16 images: they took 0.83 of the time of blocks of ``PIXELS`` of which nothing was
asked for, those of 16 output channels 0.6; with blocks of 1/12 or 1/24 of the cache 0.97 to 1.1 of this.
"""

PARTS = 16
"""So many parts times pieces are enough: as many as there are threads to use them on common machines."""

PART_PIXELS = 1280
"""The fewest pixels in a part: some blocks, between which its sums are loaded and stored."""

PARTS_BYTES = 1 << 21
"""The most memory for the sums of all parts: they are written and read once more."""


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
    columns = even(width, PIECE_COLUMNS, tile.columns)
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
    elif asks:
        together = memory.level2 // ASKED_SHARE // (source_bytes + columns * tile.itemsize)
        pixels = min(max(1, together), problem.P * problem.Q)  # of one image
    else:  # both operands stay in the second, the more pixels the fewer loads and stores of sums
        pixels = min(PIXELS, memory.level2 * 5 // 8 // source_bytes)
    images, rows = even(-(-problem.N // parts), pixels // (problem.P * problem.Q), 1), problem.P
    if pixels < problem.P * problem.Q:  # as many bands in each part
        bands, unit = -(-problem.P // max(1, pixels // problem.Q)), parts // gcd(parts, problem.N)
        images, rows = 1, -(-problem.P // (-(-bands // unit) * unit))
    bands = -(-problem.P // rows)
    return Cuts(max(1, min(parts, problem.N * bands)), down, across, columns, bands, images, rows)


def power_of_two(count):
    """The least power of two that is not below ``count``."""
    return 1 << (count - 1).bit_length()
