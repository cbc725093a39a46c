"""Copies between arrays of any strides on a device: what gives a transposed or sliced array a memory without gaps.

    for each element, in the target's order:   target[i0, i1, i2, i3] = source[i0, i1, i2, i3]

a grid-stride loop whose threads side by side write side by side.  The indices are found by three divisions of 32 bits, which
hide behind the accesses to memory.  Axes that lie one behind the other in both arrays are one; four remain for everything
that this package copies.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import cuda, int32, types

from ..registry import Refused
from .arrays import View
from .build import kernel, numbers
from .grid import THREADS, blocks_for
from .integers import divide
from .launch import start
from .memory import at

AXES = 4
WORDS = {1: types.uint8, 2: types.uint16, 4: types.uint32, 8: types.uint64}


class Walk(NamedTuple):
    """The three inner extents and, of both arrays, the strides in elements, outermost first."""

    n1: int
    n2: int
    n3: int
    source0: int
    source1: int
    source2: int
    source3: int
    target0: int
    target1: int
    target2: int
    target3: int


@cache
def copying(itemsize):
    """The kernel for elements of a size."""
    word = types.CPointer(WORDS[itemsize])

    @kernel(types.void(word, word, int32, numbers(Walk)), threads=THREADS, blocks=2)
    def run(target, source, size, w):
        quotient = cuda.local.array(1, int32)
        for place in range(cuda.grid(1), size, cuda.gridsize(1)):
            divide(at(quotient, 0), place, w.n3)
            line, i3 = quotient[0], place - quotient[0] * w.n3
            divide(at(quotient, 0), line, w.n2)
            plane, i2 = quotient[0], line - quotient[0] * w.n2
            divide(at(quotient, 0), plane, w.n1)
            i0, i1 = quotient[0], plane - quotient[0] * w.n1
            there = i0 * w.target0 + i1 * w.target1 + i2 * w.target2 + i3 * w.target3
            target[there] = source[i0 * w.source0 + i1 * w.source1 + i2 * w.source2 + i3 * w.source3]

    return run


def axes_of(source, target):
    """[(extent, the source's stride, the target's), …] in elements, as few as there can be."""
    merged = []
    for size, *steps in zip(source.shape, source.strides, target.strides, strict=True):
        own = [step // source.itemsize for step in steps]
        if size == 1:
            continue
        if merged and merged[-1][1:] == [size * step for step in own]:
            merged[-1] = [merged[-1][0] * size, *own]
        else:
            merged.append([size, *own])
    return merged


def copy(source, target):
    """Copy every element of ``source`` to its place in ``target``; both have one shape and dtype, and no memory in common.

    Raises
    ------
    Refused
        More than four axes with gaps between them, or more than 2**31 elements.
    """
    if source.size == 0:
        return
    axes = axes_of(source, target)
    if len(axes) > AXES or max(source.reach, target.reach) // source.itemsize >= 2**31:
        raise Refused(f"copies of an array with gaps have at most {AXES} axes and 2**31 elements, this is {source}")
    axes = [[1, 0, 0]] * (AXES - len(axes)) + axes
    extents, reads, writes = zip(*axes, strict=True)
    word = np.dtype(f"u{source.itemsize}")
    views = [View(array.address, extents, steps, word) for array, steps in ((target, writes), (source, reads))]
    start(copying(source.itemsize), blocks_for(source.size), views, (source.size, Walk(*extents[1:], *reads, *writes)))
