"""Sums that are formed in parts and added in an order that no number of threads changes."""

from numba import prange

from .compile import apart, jit, threaded
from .elements import elements
from .share import stripe, threads_for

GRAIN = 1 << 17
"""Elements of all parts: fewer are added sooner than a second thread starts."""

STRETCH = 1024
"""Elements of the sum at a time: they stay in the nearest cache, where each four parts are added to them."""


@apart
@jit
def add_stretch(sums, pitch, parts, out, count):
    """out[i] = sums[i] + sums[pitch + i] + … for i < count, from the first of ``parts`` to the last."""
    for i in range(count):
        out[i] = sums[i]
    fours = 1 + (parts - 1) // 4 * 4
    for part in range(1, fours, 4):
        a, b = sums + part * pitch, sums + (part + 1) * pitch
        c, d = sums + (part + 2) * pitch, sums + (part + 3) * pitch
        for i in range(count):
            out[i] = out[i] + a[i] + b[i] + c[i] + d[i]
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
    """out = sums[0] + sums[1] + …, in this order, as far as ``out`` goes; neither the rows nor ``out`` have gaps.

    ``out`` may be sums[0], nothing else of it.
    """
    add_stretches(sums, out, threads_for(threads, sums.shape[0] * out.size, GRAIN))
