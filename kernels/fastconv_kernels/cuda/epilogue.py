"""What becomes of a sum before it is written: the bias of its column, an addend, ReLU.

Written once for every product of the GPU.  ``Epilogue`` says which of them there are; a kernel gets the two arrays in any
case, and reads those that there are.
"""

from functools import cache
from typing import NamedTuple

from .build import device
from .memory import at, store_four, store_one, store_pair
from .unrolling import unroll


class Epilogue(NamedTuple):
    """1 where C = relu?(A @ B + bias? + addend?) has the part; ``addend`` is a matrix like C, and may be C itself."""

    biased: int
    adds: int
    rectifies: int


STORES = {1: store_one, 2: store_pair, 4: store_four}


@device
def same_row(quotient, row, g):
    """C's rows lie in memory as they are counted."""
    return row


@cache
def writer(count, width, rows=same_row):
    """The function that finishes ``count`` sums side by side in a row and stores them, ``width`` at a time.

    ``write(c, sums, bias, addend, quotient, row, column, g, epilogue)``; what lies beyond M x N of the geometry ``g`` is left
    out.  A ``width`` above one needs N to be a multiple of it.  ``rows(quotient, row, g)`` tells where a row is in memory.
    """
    store = STORES[width]

    @device
    def write(c, sums, bias, addend, quotient, row, column, g, epilogue):
        for first in unroll(0, count, width):
            if row < g.M and column + first < g.N:
                place = rows(quotient, row, g) * g.N + column + first
                for i in unroll(first, first + width):
                    if epilogue.biased:
                        sums[i] += bias[column + i]
                    if epilogue.adds:
                        addend_place = place + i - first
                        sums[i] += addend[addend_place]
                    if epilogue.rectifies and sums[i] < 0:  # a NaN is not below zero and stays
                        sums[i] = 0
                store(at(c, place), at(sums, first))

    return write
