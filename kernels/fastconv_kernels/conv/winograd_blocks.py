"""How the work of Winograd's convolution is cut into blocks of patches and ranges of panels; names as in ``winograd_cpu``."""

from math import lcm
from typing import NamedTuple

from ..cpu.workspace import apart, caches, even, far_caches
from .walk import exceed_caches

BLOCK = 12
"""The fewest patches in a block: U passes through the caches once for each.

Against 6, which fit in half of the second cache with 256 channels: 3 to 19% faster on layers of 128 to 288 channels.
"""

FAR_BLOCK = 64
"""``BLOCK`` where the third cache is far and U comes from there.

Measured on a Granite Rapids, blocks of 32, 48 and 64, although V leaves the second cache: 13x13 with 384 and 256 channels took
12.6, 12.2 and 11.8 ms, 14x14 with 256 and 256 8.6, 8.2 and 8.0, the gradient of 13x13 with 192 and 384 10.1, 9.6 and 9.0, that
of 14x14 with 144 and 288 5.5, 5.6 and 5.4; 28x28 with 128 and 192 the same.
"""

TRANSFORMS = 24, 12
"""Products for which the transforms of a patch take as long: of its input, for each channel, and of its output, for each."""

PASSING = 2
"""Patches whose products take as long as U takes to come from the third cache."""

TOGETHER = 64
"""The most patches to be kept together so that vectors of outputs in planes fill lines of memory.

Measured, 42 patches for 12, 56x56 with 64 and 64, 64 and 192, 128 and 192 channels: 0.95, 0.83 and 0.93 times as long.
"""

FAR_OUTPUTS = 3
"""Times the second cache: outputs that are larger go past the caches where the third is far.

To store to lines that have to come from there takes longer than all else that is done with an output.  Measured on a Granite
Rapids: to write 10 MB, 28x28 with 192 channels, took 0.4 times as long so, 6.4 MB 0.75, 4.8 MB 1.1.
"""

KEPT = 4
"""Times the second cache: the most that U takes of filters that are not prepared, if it is kept.

Measured, against filters transformed for each block: 56x56 with 64 and 192 channels, 1.8 MB of U, 0.97 times as long; 28x28
with 128 and 192, 3.5 MB, 0.95 to 1.0; 13x13 with 384 and 256, 14 MB, 1.08.  Where two cores have no third cache in common, one
reads what the other has transformed at a third of the speed: 13x13 with 192 and 384 channels took 1.25 times as long on two
threads, 7x7 with 160 and 320 1.7 times.
"""

FAR_KEPT = 10
"""``KEPT`` where the third cache is far, of more patches than a block has where filters are transformed for each.

Measured on a Granite Rapids, against filters transformed for each block: 13x13 with 384 and 256 channels, 14 MB of U, 0.83
times as long, 28x28 with 256 and 512, 19 MB, 0.85; 7x7 with 160 and 320, 64 patches and 7 MB, 1.1.
"""

FEW = 256
"""Patches for each of several threads, up to which no U is kept of filters that are not prepared.

One would read what another has just written.  Measured on two without a common third cache: 14x14 with 24 and 64 channels, 128
patches for each, took 0.77 times as long so, the gradient of 16 to 48 channels 0.7, 7x7 with 32 and 128 channels 0.7; 28x28
with 96 and 128, 392 patches, 1.0.
"""

FAR_FEW = 64
"""``FEW`` where the third cache is far: V and M of so many patches as share filters there exceed the second.

Measured on two cores of a Granite Rapids, gradients of 14x14, 5x5, with 32 and 64 channels took 0.67 times as long so, with 32
and 128 0.55, 3x3 with 16 and 48 0.85; 7x7 with 32 and 128, 32 patches for each, 1.25.
"""

GROUPS = (128, 128), (128, 64), (96, 64), (64, 64), (32, 64), (12, 32)
"""(most patches in a block, most input channels in a chunk) where filters are transformed anew for each block.

The more, the more memory and the less time.  Measured on one thread, 13x13 with 384 and 256 channels: blocks of 86, 51 and 32
patches took 0.95, 0.99 and 1.03 times as long as with U kept, 28x28 with 512 and 512 blocks of 49 took 1.06 to 1.1 times as
long as of 98; to take 64 input channels at a time took 1.0 to 1.08 times as long as 128.
"""

MODEST_GROUP, MODEST = 64, 0.6
"""Patches that a block may have in any case; of input, weight and output together, what more of them may take.

That is about what PyTorch takes, for images and filters that it converts.
"""

LARGE = 1.25
"""Times input, weight and output together: U is not kept by several threads where it is larger and filters are not prepared.

They share V then.  On two threads of a Granite Rapids 13x13 with 384 and 256 channels took 1.09 to 1.15 times as long, with 6
MB instead of 25; 7x7 with 512 and 512, of whose V each thread had one for itself, 0.91 to 0.93 times with 7 MB instead of 14.
"""

WORTH = 1.15
"""How many times as fast ranges of panels must be predicted to be where U is kept.

Of single images on two threads 14x14 with 96 and 208 channels, predicted to be 1.1 times as fast, took 1.16 times as long;
13x13 with 192 and 384 channels, predicted 1.26, was 1.33 times as fast.
"""


class Sizes(NamedTuple):
    """How the work is cut and where the arrays of points are, in elements.

    patches, unit, blocks : of all images; at multiples of how many they are cut; into how many blocks
    panels, ranges : of output channels; into how many ranges they are cut
    chunk : input channels whose filters are transformed at a time, panel by panel; 0 where U is kept
    u_point, v_point, m_point : from one point to the next in U, V and M
    v_row, m_row : from one patch to the next in V and M
    """

    patches: int
    unit: int
    blocks: int
    panels: int
    ranges: int
    chunk: int
    u_point: int
    v_point: int
    v_row: int
    m_point: int
    m_row: int


def ceiling(length, unit):
    """How many units cover ``length``."""
    return -(-length // unit)


def keeps_filters(size):
    """Whether U, of ``size`` bytes, is kept as a whole by plans with prepared filters: where it stays in the third cache."""
    return size <= caches().level3 // 2


def keeps_unprepared(size, patches):
    """Whether one thread keeps U, of ``size`` bytes, as a whole where filters are not prepared."""
    times = KEPT
    if far_caches():  # to transform filters again takes longer than to read U again
        times = FAR_KEPT if patches > GROUPS[0][0] else 1
    return size <= times * caches().level2


def filter_passes(size, patches):
    """How often one thread transforms filters that are not prepared and whose U takes ``size`` bytes."""
    return 1 if keeps_unprepared(size, patches) else ceiling(patches, GROUPS[0][0])


def sizes_for(tile, points, patches, panels, depth, threads, prepared=True, together=1, operands=0, chunks=True):
    """``Sizes`` for ``patches`` of ``points`` points, ``depth`` input channels and ``panels`` of output channels.

    They come from those that take the least time to those that need the least memory.  prepared: whether filters are packed
    once for many calls; together: patches of which no block has a part alone; operands: bytes of input, weight and output;
    chunks: whether sums are the same, whatever chunks of channels they are formed of
    """
    unit = lcm(tile.rows, together)
    memory, u_bytes = caches(), points * tile.itemsize * depth * panels * tile.columns
    v_row = apart(depth, tile.dtype)

    def cut(blocks, kept, ranges, chunk):
        m_row, u_size = tile.columns, chunk * tile.columns or panels * depth * tile.columns
        u_point, v_point, m_point = (apart(size, tile.dtype) for size in (u_size, kept * v_row, kept * m_row))
        return Sizes(patches, unit, blocks, panels, ranges, chunk, u_point, v_point, v_row, m_point, m_row)

    small, few = keeps_unprepared(u_bytes, patches), FAR_FEW if far_caches() else FEW
    alone = threads == 1 or (patches > few * threads and u_bytes <= LARGE * operands)
    if keeps_filters(u_bytes) if prepared else small and alone:
        rows_bytes = points * tile.itemsize * (v_row + tile.columns)
        far = far_caches() and u_bytes > memory.level2
        fewest = ceiling(FAR_BLOCK if far else BLOCK, tile.rows) * tile.rows
        share = 4 if u_bytes <= memory.level2 // 4 else 2  # more patches at a time gain nothing where U is always near
        limit = max(fewest, memory.level2 // share // rows_bytes)
        yield cut(*blocks_for(tile, unit, patches, panels, depth, threads, limit, PASSING, WORTH), 0)
    units = ceiling(patches, unit)
    for group, chunk in GROUPS:
        blocks = ceiling(units, ceiling(group, unit))
        # Where one thread would keep U, sums must be formed as it does.
        sizes = cut(blocks, ceiling(units, blocks) * unit, 1, even(depth, chunk, 1) if chunks or not small else depth)
        taken = sizes.v_point + threads * (sizes.m_point + sizes.u_point)
        if group <= MODEST_GROUP or taken * points * tile.itemsize <= MODEST * operands:
            yield sizes


def streams(problem, target, tile):
    """(whether outputs go past the caches, patches of which no block has a part alone): vectors must fill lines of memory.

    In planes they do where rows are whole vectors, for patches as wide as a vector, and else where a row of patches is.
    target: how the outputs are cut into patches
    """
    lanes, step = tile.lanes, target.step
    outputs = target.images * target.rows * target.columns * target.channels * tile.itemsize
    exceed = exceed_caches(problem) or (far_caches() and outputs > FAR_OUTPUTS * caches().level2)
    if problem.layout == "NHWC" or not exceed:
        return exceed and target.channels % lanes == 0, 1
    if target.columns % lanes == 0 and lanes % step == 0:
        return True, lanes // step
    if target.columns * step % lanes == 0 and target.rows % step == 0 and lcm(tile.rows, target.across) <= TOGETHER:
        return True, target.across
    return False, 1


def outputs_leave(target, tile, filters):
    """Whether outputs leave the second cache before they are written again, which U, of so many numbers, passes through.

    Planes are asked for then before they are written: 16 at a time, whose stores wait for each other.  Measured on a Granite
    Rapids: 27x27 with 64 and 192 channels, 5x5, took 0.59 times as long, 14x14 with 144 and 288 0.92; 28x28 with 16 and 32
    channels, which stay, 1.1 times.
    """
    outputs = target.images * target.rows * target.columns * target.channels
    return (outputs + filters) * tile.itemsize > caches().level2


def blocks_for(tile, unit, patches, panels, depth, threads, limit, passing, worth):
    """(blocks, patches in one, ranges of panels): what one thread has to do takes the least time.

    Where a thread has few patches, which fill its tiles badly while all of U passes for them, it is better off with a range of
    the panels, although patches are then transformed once for each.

    unit: patches at multiples of which blocks begin; limit: the most patches in a block; passing: those whose products take
    as long as what the block needs of U; worth: how many times as fast ranges of panels must be predicted to be
    """
    limit, units = max(1, limit // unit) * unit, ceiling(patches, unit)

    def choice(ranges):
        sharing = max(1, threads // ranges)
        blocks = max(1, ceiling(ceiling(patches, limit), sharing) * sharing)  # as many for one thread as for another
        return blocks, ceiling(units, blocks) * unit, ranges

    def time(choice):
        blocks, kept, ranges = choice
        width, passes = ceiling(panels, ranges) * tile.columns, ceiling(blocks * ranges, threads)
        done = min(passes * kept, ceiling(units * ranges, threads) * unit)
        time = done * (depth * width + TRANSFORMS[0] * depth + TRANSFORMS[1] * width) + passes * passing * depth * width
        return time if ranges == 1 else time * worth

    return min(map(choice, range(1, min(threads, panels) + 1)), key=time)
