"""Copying a band of an image into its frame of zeros, and weights into panels: where every convolution on the CPU starts."""

import numpy as np

from ..cpu.compile import inlined, jit
from ..cpu.pack import pack
from ..cpu.simd import load_first, nothing, store_first
from ..cpu.tile import pointer


@inlined
def copy(tile, source, target, count):
    """target[0:count] = source[0:count]."""
    for t in range(0, count, tile.lanes):
        store_first(target + t, load_first(source + t, count - t), count - t)


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
def pack_panels(tile, weight, strides, taps, depth, width, groups, packed, first):
    """packed[first:] = weight[tap, c, column] for each group and each panel of ``tile.columns`` columns, one after another.

    weight: flat; strides: in elements from one tap row, tap column, weight row (of ``depth``), weight column (of ``width``)
    and group to the next; taps: (taps, 2)
    """
    down, right, row, column, group = strides
    nr = tile.columns
    panel = pointer(tile, packed, first)
    for g in range(groups):
        for j in range(0, width, nr):
            for t in range(taps.shape[0]):
                origin = g * group + taps[t, 0] * down + taps[t, 1] * right + j * column
                pack(tile, nr, pointer(tile, weight, origin), column, row, min(nr, width - j), depth, panel)
                panel = panel + depth * nr


def flat(weight):
    """``weight`` as one contiguous line, and its strides in elements: a view if its axes are a permutation of that line."""
    order = sorted(range(weight.ndim), key=lambda axis: -weight.strides[axis])
    line = weight.transpose(order)
    if not line.flags.c_contiguous:
        weight, line = (copied := np.ascontiguousarray(weight)), copied
    return line.reshape(-1), [stride // weight.itemsize for stride in weight.strides]
