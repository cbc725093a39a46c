"""Sums that are formed in parts and added in an order that no number of threads changes."""

import numpy as np
from numba import prange

from .compile import apart, jit, threaded
from .elements import elements
from .pack import square, transpose
from .places import block
from .share import stripe, threads_for
from .tile import add_tile, load_tile, pointer, store_tile
from .tile_rows import add_rows

GRAIN = 1 << 17
"""Elements of all parts: fewer are added sooner than a second thread starts."""

STRETCH = 1024
"""Elements of the sum at a time: they stay in the nearest cache, where each four parts are added to them."""


@apart
@jit
def add_stretch(sums, pitch, parts, out, count):
    """out[i] = sums[i] + sums[pitch + i] + … for i < count, all ``parts`` in their order.

    Four at a time, which are added among themselves first: a shorter chain of roundings, and of waiting.
    """
    for i in range(count):
        out[i] = sums[i]
    fours = 1 + (parts - 1) // 4 * 4
    for part in range(1, fours, 4):
        a, b = sums + part * pitch, sums + (part + 1) * pitch
        c, d = sums + (part + 2) * pitch, sums + (part + 3) * pitch
        for i in range(count):
            out[i] = out[i] + ((a[i] + b[i]) + (c[i] + d[i]))
    for part in range(fours, parts):
        a = sums + part * pitch
        for i in range(count):
            out[i] = out[i] + a[i]


@threaded
def add_stretches(sums, out, threads):
    parts, pitch = sums.shape[0], sums.strides[0] // sums.itemsize
    for thread in prange(threads):
        start, stop = stripe(thread, threads, out.size, STRETCH)
        for first in range(start, stop, STRETCH):
            add_stretch(elements(sums, first), pitch, parts, elements(out, first), min(STRETCH, stop - first))


def add_parts(sums, out, threads):
    """out = sums[0] + sums[1] + …, as ``add_stretch`` does, as far as ``out`` goes; neither the rows nor ``out`` have gaps.

    ``out`` may be sums[0], nothing else of it.
    """
    add_stretches(sums, out, threads_for(threads, sums.shape[0] * out.size, GRAIN))


@jit
def add_lanes_share(tile, sums, out, thread, threads):
    piece, size = square(tile), tile.lanes
    totals, target, last = pointer(tile, sums, 0), pointer(tile, out, 0), out.size
    first, end = stripe(thread, threads, last, size)
    for i in range(first, end, size):
        total = load_tile(piece, block(piece, totals + i * size, size, last - i, size))
        for part in range(1, sums.shape[0]):
            start = totals + (part * last + i) * size
            total = add_tile(total, load_tile(piece, block(piece, start, size, last - i, size)))
        store_tile(add_rows(transpose(total)), block(piece, target + i, 0, 1, last - i))


@threaded
def add_lanes(tile, sums, out, threads):
    """out[i] = the lanes of all parts sums[:, i] added up, the parts in their order; out: a line."""
    for thread in prange(threads):
        add_lanes_share(tile, sums, out, np.intp(thread), threads)
