"""Copying a band of an image into its frame of zeros, and weights into panels: where every convolution on the CPU starts."""

from functools import lru_cache

import numpy as np
from numba import prange
from numpy.lib.stride_tricks import as_strided

from ..cpu.compile import inlined, jit, threaded
from ..cpu.pack import in_line, pack, pair, part, square, transpose
from ..cpu.places import block
from ..cpu.share import share, threads_for
from ..cpu.simd import load_alternate, load_first, nothing, prefetch, store_first, touch
from ..cpu.tile import load_tile, pointer, store_tile


@inlined
def copy(tile, source, target, count):
    """target[0:count] = source[0:count]."""
    for t in range(0, count, tile.lanes):
        store_first(target + t, load_first(source + t, count - t), count - t)


@inlined
def copy_phase(tile, source, step, count, target):
    """target[t] = source[t * step] for t < count: one phase of a row."""
    if step == 1:
        for t in range(0, count, tile.lanes):
            store_first(target + t, load_first(source + t, count - t), count - t)
    elif step == 2:
        for t in range(0, count, tile.lanes):
            store_first(target + t, load_alternate(source + 2 * t, count - t), count - t)
    else:
        for t in range(count):
            target[t] = source[t * step]


@inlined
def clear(tile, target, count):
    """target[0:count] = 0."""
    for t in range(0, count, tile.lanes):
        store_first(target + t, nothing(target), count - t)


@inlined
def frame_band(tile, image, extent, top, left, height, width, frame):
    """frame[f, t] = image[top + f, left + t] where that is a pixel, else 0, for ``height`` x ``width`` pixels.

    extent: (rows, columns, channels) of ``image``.  Columns outside the image are zero in the frame already and stay so.
    """
    rows, columns, channels = extent
    first, pitch = max(0, -left), width * channels
    count = min(width - first, columns - max(0, left)) * channels
    for f in range(height):
        target, y = frame + f * pitch, top + f
        if 0 <= y < rows:
            copy(tile, image + (y * columns + max(0, left)) * channels, target + first * channels, count)
        else:
            clear(tile, target, pitch)


@jit
def frame_group(tile, image, extent, top, left, height, width, frame):
    """``frame_band`` of some channels; extent: (rows, columns, channels of the image, of the frame)."""
    rows, columns, channels, depth = extent
    if depth == channels:
        frame_band(tile, image, (rows, columns, channels), top, left, height, width, frame)
        return
    first = max(0, -left)
    count = min(width - first, columns - max(0, left))
    for f in range(height):
        target, y = frame + f * width * depth, top + f
        if 0 <= y < rows:
            source = image + (y * columns + max(0, left)) * channels
            for t in range(count):
                copy(tile, source + t * channels, target + (first + t) * depth, depth)
        else:
            clear(tile, target, width * depth)


@jit
def frame_groups(tile, image, extent, groups, top, left, height, width, frame):
    """``frame_band`` for each of ``groups`` apart: frame[g, f, t] has the channels of group g alone."""
    rows, columns, channels = extent
    first, depth = max(0, -left), channels // groups
    count, step = min(width - first, columns - max(0, left)), height * width * depth
    for f in range(height):
        target, y = frame + f * width * depth, top + f
        if 0 <= y < rows:
            for t in range(count):
                source, place = image + (y * columns + max(0, left) + t) * channels, target + (first + t) * depth
                for g in range(groups):
                    copy(tile, source + g * depth, place + g * step, depth)
        else:
            for g in range(groups):
                clear(tile, target + g * step, width * depth)


@inlined
def copy_pairs(tile, source, count, target, apart):
    """target[t] = source[2 * t], target[apart + t] = source[2 * t + 1]: both phases of a row of ``count`` elements."""
    piece, half = pair(tile), count // 2
    line = in_line(piece)
    for t in range(0, half, tile.lanes):
        both = part(load_tile(line, block(line, source + 2 * t, 0, 1, 2 * (half - t))))
        store_tile(both, block(piece, target + t, apart, 2, half - t))
    if count % 2 == 1:
        target[half] = source[count - 1]


@jit
def frame_planes(tile, planes, extent, origin, shape, framed, moves):
    """framed[c, f, phase, t] = planes[c, top + f, left + t * phases + phase] where that is a pixel, else 0.

    extent: (C, H, W) of the planes; origin: (top, left), where left is not positive; shape: see ``frame_shape``.  Columns
    outside the image are zero in the frame already and stay so, and rows too, unless ``top`` ``moves`` from call to call.
    """
    C, H, W = extent
    top, left = origin
    rows, phases, pitch, grain = shape
    border, line = -left, phases * pitch
    first = border % phases  # the phase of the first pixel; before it stand so many of each phase, or one more
    start, later = (border // phases + grain - 1) // grain * grain, (border // phases + grain) // grain * grain
    begin, end = min(rows, max(0, -top)), max(0, min(rows, H - top))
    for c in range(C):
        source, target = planes + (c * H + top) * W, framed + (c * rows * line + start)
        if moves:
            clear(tile, framed + c * rows * line, begin * line)
            clear(tile, framed + (c * rows + end) * line, (rows - end) * line)
        if phases == 1:
            for f in range(begin, end):
                copy(tile, source + f * W, target + f * line, W)
        elif phases == 2:  # both phases of a row before the next one: each line of the planes comes from afar once
            apart = pitch if first == 0 else later - start - pitch
            for f in range(begin, end):
                copy_pairs(tile, source + f * W, W, target + (f * line + first * pitch), apart)
        else:
            for f in range(begin, end):
                for column in range(phases):
                    place, count = f * line + (first + column) * pitch, (W - column + phases - 1) // phases
                    if first + column >= phases:
                        place += later - start - line
                    copy_phase(tile, source + (f * W + column), phases, count, target + place)


@inlined
def ask_for(tile, source, size, part, parts):
    """Bring share ``part`` of ``parts`` of the ``size`` elements at ``source`` nearer: they will be read, or overwritten.

    A small plane is over before the processor has seen where it is going, and every line of its result is fetched before it
    is overwritten: without this, planes that come from memory take twice as long.
    """
    for t in range(part * size // parts // tile.lanes, (part + 1) * size // parts // tile.lanes):
        prefetch(source + t * tile.lanes)


@jit
def bring(tile, source, size):
    """Read ``size`` elements from first to last for the sake of their cache lines alone: as the processor foresees best."""
    for t in range(0, size, tile.lanes):
        touch(source + t)


@jit
def bring_runs(tile, source, run, pitch, count):
    """``bring`` ``count`` runs of ``run`` elements, ``pitch`` apart."""
    for t in range(count):
        bring(tile, source + t * pitch, run)


@jit
def turn_taps(tile, weight, along, count, columns, taps, turned, panel, pitch):
    """panel[tap * pitch + column] = weight[column * along + tap] for ``count`` of ``columns``; turned: the taps backwards."""
    piece, start, step = square(tile), 0, pitch
    if turned:
        start, step = (taps - 1) * pitch, -pitch
    for i in range(0, columns, tile.lanes):  # beyond ``count`` zeros
        for tap in range(0, taps, tile.lanes):
            rows = load_tile(piece, block(piece, weight + (i * along + tap), along, count - i, taps - tap))
            store_tile(transpose(rows), block(piece, panel + (start + tap * step + i), step, taps - tap, tile.lanes))


@jit
def side_by_side(taps, down, right):
    """1 if the taps of a filter lie side by side in memory, KCRS, -1 if they do backwards, else 0."""
    count, onwards, backwards = taps.shape[0], True, True
    for t in range(count):
        place = taps[t, 0] * down + taps[t, 1] * right
        onwards, backwards = onwards and place == t, backwards and place == count - 1 - t
    return 0 if count == 1 else 1 if onwards else -1 if backwards else 0


@jit
def pack_turned(tile, weight, strides, taps, extents, first, end, backwards, packed):
    """``pack_some`` of filters whose taps lie side by side: they are transposed in registers."""
    _, _, row, column, group = strides
    _, panels, depth, width, last = extents
    nr, count = tile.columns, taps.shape[0]
    for panel in range(first, end):
        g, j = panel // panels, panel % panels * nr
        columns, target = last if width - j < nr else nr, packed + (panel - first) * count * depth * nr
        for i in range(0, columns, tile.lanes):  # no more streams at a time than the processor follows
            for c in range(depth):
                source = pointer(tile, weight, g * group + (j + i) * column + c * row)
                place, lines = target + (c * columns + i), depth * columns
                turn_taps(tile, source, column, width - j - i, tile.lanes, count, backwards, place, lines)


@jit
def pack_some(tile, weight, strides, taps, extents, first, end, packed):
    """The panels ``first`` … ``end``, one after another at ``packed``.

    extents: (groups, panels of a group, depth, width, columns of the last panel); otherwise see ``pack_panels``
    """
    down, right, row, column, group = strides
    _, panels, depth, width, last = extents
    nr, count, order = tile.columns, taps.shape[0], side_by_side(taps, down, right)
    if order != 0:
        pack_turned(tile, weight, strides, taps, extents, first, end, order < 0, packed)
        return
    for task in range(first * count, end * count):
        panel, t = task // count, task % count
        g, j = panel // panels, panel % panels * nr
        origin = g * group + taps[t, 0] * down + taps[t, 1] * right + j * column
        columns = last if width - j < nr else nr
        target = packed + ((panel - first) * count * nr + t * columns) * depth
        pack(tile, columns, pointer(tile, weight, origin), column, row, min(nr, width - j), depth, target)


@threaded
def pack_shares(tile, weight, strides, taps, extents, packed, first, threads):
    for thread in prange(threads):
        begin, end = share(thread, threads, extents[0] * extents[1])
        target = pointer(tile, packed, first + begin * taps.shape[0] * extents[2] * tile.columns)
        pack_some(tile, weight, strides, taps, extents, begin, end, target)


PACK_GRAIN = 1 << 16
"""Weights: fewer are packed sooner than a second thread starts."""


def pack_panels(tile, weight, strides, taps, depth, width, groups, packed, first, threads=1, last=None):
    """packed[first:] = weight[tap, c, column] for each group and each panel of ``tile.columns`` columns, one after another.

    A last panel that is not full has ``last`` columns, side by side, and the room of a whole one.

    weight: flat; strides: in elements from one tap row, tap column, weight row (of ``depth``), weight column (of ``width``)
    and group to the next; taps: (taps, 2)
    """
    extents = groups, -(-width // tile.columns), depth, width, last or tile.columns
    threads = threads_for(threads, groups * width * depth * len(taps), PACK_GRAIN)
    pack_shares(tile, weight, strides, taps, extents, packed, first, threads)


def flat(weight):
    """``weight`` as one contiguous line, and its strides in elements: a view, of what lies between its elements too."""
    order, steps = _order(weight.strides, weight.itemsize)
    line = weight.transpose(order)
    if line.flags.c_contiguous:
        return line.reshape(-1), steps
    if weight.size and min(weight.strides) >= 0 and not any(stride % weight.itemsize for stride in weight.strides):
        reach = sum((length - 1) * step for length, step in zip(weight.shape, steps, strict=True))
        return as_strided(weight, (reach + 1,), (weight.itemsize,)), steps
    copied = np.ascontiguousarray(weight)
    return copied.reshape(-1), _order(copied.strides, copied.itemsize)[1]


@lru_cache(maxsize=64)
def _order(strides, itemsize):
    """(the axes, that of the longest stride first; the strides in elements)."""
    order = sorted(range(len(strides)), key=lambda axis: -strides[axis])
    return tuple(order), tuple(stride // itemsize for stride in strides)
