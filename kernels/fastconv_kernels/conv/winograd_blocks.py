"""How the work of Winograd's convolution is cut into blocks of patches and ranges of panels; names as in ``winograd_cpu``."""

from typing import NamedTuple

from ..cpu.workspace import apart, caches, even

BLOCK = 12
"""The fewest patches in a block: U passes through the caches once for each.

Against 6, which fit in half of the second cache with 256 channels: 3 to 19% faster on layers of 128 to 288 channels.
"""

TRANSFORMS = 24, 12
"""Products for which the transforms of a patch take as long: of its input, for each channel, and of its output, for each."""

PASSING = 2
"""Patches whose products take as long as U takes to come from the third cache."""

WORTH = 1.15
"""How many times as fast ranges of panels must be predicted to be.

Of single images on two threads 14x14 with 96 and 208 channels, predicted to be 1.1 times as fast, took 1.16 times as long;
13x13 with 192 and 384 channels, predicted 1.26, was 1.33 times as fast.
"""


class Sizes(NamedTuple):
    """How the work is cut and where the arrays of points are, in elements.

    patches, blocks : of all images; into how many blocks they are cut
    panels, ranges : of output channels; into how many ranges they are cut
    group : patches whose V is kept while the panels pass; 0 where U is kept
    u_point, v_point, m_point : from one point to the next in U, V and M
    v_row, m_row : from one patch to the next in V and M
    """

    patches: int
    blocks: int
    panels: int
    ranges: int
    group: int
    u_point: int
    v_point: int
    v_row: int
    m_point: int
    m_row: int


def ceiling(length, unit):
    """How many units cover ``length``."""
    return -(-length // unit)


def keeps_filters(size):
    """Whether U, of ``size`` bytes, is kept as a whole: where it stays in the third cache."""
    return size <= caches().level3 // 2


def sizes_for(tile, points, patches, panels, depth, threads):
    """The ``Sizes`` for ``patches`` of ``points`` points, ``depth`` input channels and ``panels`` of output channels."""
    lanes, nr, point_bytes, memory = tile.lanes, tile.columns, points * tile.itemsize, caches()
    # A row more than the channels need: rows that are a power of two apart would share the lines of the cache.
    v_row, m_row = ceiling(depth, lanes) * lanes + lanes, panels * nr + lanes
    if keeps_filters(point_bytes * depth * panels * nr):
        limit = max(BLOCK, memory.level2 // 2 // (point_bytes * (v_row + m_row)))
        blocks, kept, ranges = blocks_for(tile, patches, panels, depth, threads, limit)
        m_row, u_size, group = ceiling(panels, ranges) * nr + lanes, panels * depth * nr, 0
    else:
        m_row, u_size, blocks, ranges = nr + lanes, depth * nr, 0, 1
        group = kept = even(patches, memory.level3 // 2 // (point_bytes * v_row), tile.rows)
    u_point, v_point, m_point = (apart(size, tile.dtype) for size in (u_size, kept * v_row, kept * m_row))
    return Sizes(patches, blocks, panels, ranges, group, u_point, v_point, v_row, m_point, m_row)


def blocks_for(tile, patches, panels, depth, threads, limit):
    """(blocks, patches in one, ranges of panels): what one thread has to do takes the least time.

    Where a thread has few patches, which fill its tiles badly while all of U passes for them, it is better off with a range of
    the panels, although patches are then transformed once for each.  ``limit``: the most patches in a block.
    """
    rows, limit = tile.rows, max(1, limit // tile.rows) * tile.rows
    units = ceiling(patches, rows)

    def choice(ranges):
        sharing = max(1, threads // ranges)
        blocks = max(1, ceiling(ceiling(patches, limit), sharing) * sharing)  # as many for one thread as for another
        return blocks, ceiling(units, blocks) * rows, ranges

    def time(choice):
        blocks, kept, ranges = choice
        width, passes = ceiling(panels, ranges) * tile.columns, ceiling(blocks * ranges, threads)
        done = min(passes * kept, ceiling(units * ranges, threads) * rows)
        time = done * (depth * width + TRANSFORMS[0] * depth + TRANSFORMS[1] * width) + passes * PASSING * depth * width
        return time if ranges == 1 else time * WORTH

    return min(map(choice, range(1, min(threads, panels) + 1)), key=time)
