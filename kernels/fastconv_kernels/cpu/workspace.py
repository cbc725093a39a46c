"""The caches, from whose sizes every block size is derived, and memory that begins where their lines begin."""

from __future__ import annotations

from collections.abc import Iterable
from ctypes import addressof, c_char
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

LINE_BYTES = 64
"""One cache line, and one AVX-512 register: a vector that starts on a line costs one access, any other two."""


class Caches(NamedTuple):
    """Bytes of the caches that one core sees.  The defaults are what nearly every server core has had since 2017."""

    level1: int = 32 * 1024
    level2: int = 1024 * 1024
    level3: int = 16 * 1024 * 1024


MOST_LEVEL3 = 32 * 1024 * 1024
"""Of the third cache that a process counts on, however large it is said to be.

A virtual machine is told of its whole socket's cache: two cores of a Granite Rapids of 480 MiB, which they share with others
and which gave them 29 GB/s, no more than memory.  There a network's first layers took 0.69 to 0.98 times as long with 16 MiB.
"""


@cache
def caches() -> Caches:
    """The caches of the first core as Linux reports them, within reason, the defaults elsewhere."""
    sizes = Caches()
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction" and size.endswith("K") and int(level) <= 3:
            sizes = sizes._replace(**{f"level{level}": int(size[:-1]) * 1024})
    return sizes._replace(level3=min(sizes.level3, MOST_LEVEL3))


NEAR_LEVEL2 = 1024 * 1024
"""Bytes of a second cache that is as fast as the first, before a third one that is not far: those of a Zen 5."""


def far_caches() -> bool:
    """Whether the second cache feeds the multipliers worse than the first, and what lies beyond it is as far as memory.

    That is told from the size of the second, for a larger one is a slower one, and servers have it because the third is far.
    From the 2 MB of a Granite Rapids a product of 128 cubed, whose B is larger than the first cache, took 1.1 times as long
    with tiles of four rows as with eight or six; beyond them a core reads and writes 30 GB/s, after 100 ns, and no more, if
    what it wants next is asked for evenly, each line once, while it computes.  A burst of requests stops it.
    """
    return caches().level2 > NEAR_LEVEL2


def aligned(size: int, dtype: Any) -> np.ndarray[Any, Any]:
    """``size`` zeros that start on a cache line."""
    return workspace(1, size, dtype)[0, :size]


def _address(memory: Any) -> int:
    """Where a line of writable memory begins.  NumPy's own answer takes four times as long, two thirds of a microsecond."""
    return addressof(c_char.from_buffer(memory))


def address_of(array: Any) -> int:
    """Where an array begins, which may be read-only."""
    address: int = array.__array_interface__["data"][0]
    return address


def unwritten(size: int, dtype: Any) -> np.ndarray[Any, Any]:
    """``size`` elements that start on a cache line, for who writes all that is read of them."""
    itemsize = np.dtype(dtype).itemsize
    memory = np.empty(max(1, size) * itemsize + LINE_BYTES, np.uint8)
    start = -_address(memory) % LINE_BYTES
    return memory[start : start + size * itemsize].view(dtype)


def workspace_bytes(rows: int, sizes: Iterable[int], dtype: Any) -> int:
    """Of a ``workspace`` of each of the ``sizes``."""
    return sum(rows * _pitch(size, dtype) for size in sizes)


def _pitch(size: int, dtype: Any) -> int:
    """Bytes from one row of a workspace to the next."""
    return -(-max(1, size) * np.dtype(dtype).itemsize // LINE_BYTES) * LINE_BYTES


def workspace(rows: int, size: int, dtype: Any) -> np.ndarray[Any, Any]:
    """Zeros, (rows, at least ``size``), one row for each thread, each row starting on a cache line."""
    pitch = _pitch(size, dtype)
    memory = np.zeros(rows * pitch + LINE_BYTES, np.uint8)
    start = -_address(memory) % LINE_BYTES
    return memory[start : start + rows * pitch].view(dtype).reshape(rows, pitch // np.dtype(dtype).itemsize)


LARGE_BYTES = 1 << 16
"""From so many on an array that starts on a cache line is worth the microsecond that it takes to make."""


def uninitialised(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """What ``numpy.empty`` gives, but a large array starts on a cache line.

    NumPy starts it 16 or 32 bytes behind one: then every vector that a kernel stores is stored in two halves, and a
    convolution of few channels, which is mostly stores, takes up to a tenth longer.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE_BYTES:
        return np.empty(shape, dtype)
    return unwritten(prod(shape), dtype).reshape(shape)


def apart(size: int, dtype: Any) -> int:
    """At least ``size`` elements, an odd number of cache lines.

    Arrays this far apart fall on all sets of a cache in turn.  At a multiple of 4096 bytes all would fall on the same set, of
    which a cache holds 8 or 12 lines: to write one vector to each of 36 such arrays took half as long again.
    """
    itemsize = np.dtype(dtype).itemsize
    return (-(-size * itemsize // LINE_BYTES) | 1) * LINE_BYTES // itemsize


def even(length: int, limit: int, unit: int) -> int:
    """The step that cuts ``length`` into the fewest equal steps of at most ``limit``, rounded up to multiples of ``unit``."""
    limit = max(unit, limit // unit * unit)
    length = max(1, length)
    steps = -(-length // limit)
    return -(-length // steps // unit) * unit
