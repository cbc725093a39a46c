"""What a look at three arrays tells: which product of matrices they are for, if they can be used as they are.

Python asks an array for its shape, dtype, strides and memory in calls of 20 to 40 ns each; asked of three, and compared, that
took as long as a product of 32 x 32 matrices.  Here the same is read where NumPy's C interface lays it down, the structure
``PyArrayObject_fields`` of its ``ndarraytypes.h``; ``as_laid_down`` looks whether it is so, before anything is read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from ..cpu.borrowed import Anything, held_at, place_of
from ..cpu.compile import inlined, looking
from ..cpu.simd import entry

HEAD = object.__basicsize__ // 8
"""Words of 8 bytes of any object; what an array has beyond comes after them."""

CLASS, DATA, AXES, LENGTHS, DTYPE, FLAGS = (HEAD + place for place in (-1, 0, 1, 2, 5, 6))
"""Which words of an array these are; AXES and FLAGS are half a word."""

HALF = (1 << 32) - 1

ROWS_IN_LINE, COLUMNS_IN_LINE, ALIGNED, WRITABLE = 0x1, 0x2, 0x100, 0x400
"""Of the flags: contiguous in C's order, in Fortran's, …"""

DIGITS = 20
"""Bits of each length in the number of a product."""

CLOSER = -1
"""Instead of a number: whoever wants to know has to look closer."""

KNOWN = np.array([id(np.ndarray), id(None), id(np.dtype("float32")), id(np.dtype("float64"))], np.int64)
"""By which ``look`` knows what it sees."""


@inlined
def usable(array, dtype, flags):
    """Whether an array is a matrix of this dtype in one run of memory, and has all of ``flags``."""
    found = entry(array, FLAGS)
    in_line = found & (ROWS_IN_LINE | COLUMNS_IN_LINE) != 0
    return entry(array, DTYPE) == dtype and entry(array, AXES) & HALF == 2 and in_line and found & flags == flags


@inlined
def length(array, axis):
    return entry(held_at(entry(array, LENGTHS)), axis)


@inlined
def apart(array, other, itemsize):
    """Whether two runs of memory have nothing in common."""
    start, others = entry(array, DATA), entry(other, DATA)
    end = start + length(array, 0) * length(array, 1) * itemsize
    return end <= others or others + length(other, 0) * length(other, 1) * itemsize <= start


def look(known, a, b, out):
    """The number of the product ``a @ b`` into ``out``, or None; ``known``: the address of ``KNOWN``."""
    known = held_at(known)
    kind, nothing, single, double = entry(known, 0), entry(known, 1), entry(known, 2), entry(known, 3)
    if entry(a, CLASS) != kind or entry(b, CLASS) != kind:  # nothing is known of the words of anything else
        return CLOSER
    dtype = entry(a, DTYPE)
    if (dtype != single and dtype != double) or not (usable(a, dtype, ALIGNED) and usable(b, dtype, ALIGNED)):
        return CLOSER
    M, K, N = length(a, 0), length(a, 1), length(b, 1)
    if length(b, 0) != K or max(M, N, K) >> DIGITS:
        return CLOSER
    if place_of(out) != nothing:
        if entry(out, CLASS) != kind or not usable(out, dtype, ROWS_IN_LINE | ALIGNED | WRITABLE):
            return CLOSER
        itemsize = 8 if dtype == double else 4
        if length(out, 0) != M or length(out, 1) != N or not (apart(out, a, itemsize) and apart(out, b, itemsize)):
            return CLOSER
    return ((M << DIGITS | K) << DIGITS | N) << 1 | (dtype == double)


@cache
def glance() -> Callable[[Any, Any, Any], int]:
    """``look`` as Python calls it: with a, b, and an out or None; its answer is a number for ``meant``, or ``CLOSER``.

    It has a number for two matrices of one dtype, float32 or float64, whose sizes fit, and an ``out`` of that size with memory
    of its own: plain arrays of NumPy, aligned and without gaps, which plans take as they are.
    """
    if not as_laid_down():
        return lambda *_: CLOSER
    return partial(looking(look, KNOWN.ctypes.data, *[Anything()] * 3), KNOWN.ctypes.data)


def meant(number: int) -> tuple[tuple[int, int], tuple[int, int], np.dtype[Any], np.dtype[Any]]:
    """The shapes and dtypes of a and b."""
    lengths, double = divmod(number, 2)
    M, K, N = (lengths >> shift & (1 << DIGITS) - 1 for shift in (2 * DIGITS, DIGITS, 0))
    dtype = np.dtype("float64" if double else "float32")
    return (M, K), (K, N), dtype, dtype


def as_laid_down() -> bool:
    """Whether an array's words are what they are taken for."""
    array = np.empty((3, 5), np.float32)
    words = (ctypes.c_int64 * (FLAGS + 1)).from_address(id(array))
    place, flags = array.ctypes.data, array.flags.num
    if (words[CLASS], words[DATA], words[DTYPE]) != (id(np.ndarray), place, id(np.dtype("float32"))):
        return False
    if (words[AXES] & HALF, words[FLAGS] & HALF) != (2, flags):
        return False
    return tuple((ctypes.c_int64 * 2).from_address(words[LENGTHS])) == array.shape
