"""Dropout on the GPU: the generator of ``philox.py``, four elements of one counter at a time.

    thread t of T     elements 4 t … 4 t + 3, then those 4 T further: a grid-stride loop over counters
      draws           ten rounds in registers: half of the time that the elements take to come and go
      reads, writes   16 bytes of each array, or single elements where an address is no multiple of 16

The step is read from memory, so that a recorded launch drops other elements each time.  Nothing is shared and nobody waits.
"""

from functools import cache
from typing import NamedTuple

from numba import cuda, float32, int32, int64, types

from ..cuda.arrays import view
from ..cuda.build import device, kernel, numbers
from ..cuda.grid import THREADS, blocks_for
from ..cuda.launch import start
from ..cuda.memory import at, fetch_four, store_four
from ..cuda.unrolling import unroll
from . import philox

FLOATS, INTEGERS = types.CPointer(float32), types.CPointer(int64)
MASK = philox.MASK
words = device(philox.words)


class Chance(NamedTuple):
    """The words of the key and the least word that keeps an element, as signed integers; the factor of what is kept."""

    key: int
    beside: int
    threshold: int
    factor: float


@cache
def dropping(width):
    """The kernel (x, out, step)."""

    @kernel(types.void(FLOATS, FLOATS, INTEGERS, int32, numbers(Chance)), threads=THREADS)
    def run(x, out, step, size, g):
        four = cuda.local.array(4, float32)
        key, beside, threshold = int(g.key) & MASK, int(g.beside) & MASK, int(g.threshold) & MASK
        for group in range(cuda.grid(1), (size + 3) // 4, cuda.gridsize(1)):
            drawn = words(int(group), int(step[0]), key, beside)
            first = 4 * group
            if width == 4 and first + 4 <= size:
                fetch_four(at(four, 0), at(x, first))
                for i in unroll(4):
                    four[i] = four[i] * (g.factor if drawn[i] >= threshold else float32(0))
                store_four(at(out, first), at(four, 0))
            else:
                for i in unroll(4):
                    if first + i < size:
                        out[first + i] = x[first + i] * (g.factor if drawn[i] >= threshold else float32(0))

    return run


def signed(word):
    """The integer of 32 bits with a sign that has the same bits."""
    return word - (word >> 31 << 32)


class Dropout:
    """``plan(x, out, key, step)``; ``out`` may be ``x``."""

    workspace_bytes = 0

    def __init__(self, problem, threads=1):
        self.problem, self.threads = problem, threads

    def __call__(self, x, out, key, step):
        """Write what is kept of ``x``, times 1 / (1 - rate), into ``out``."""
        problem, arrays = self.problem, (view(x), view(out), view(step))
        if problem.size:
            chance = Chance(*map(signed, (*key, problem.threshold)), problem.factor)
            width = 4 if all(array.address % 16 == 0 for array in arrays[:2]) else 1
            start(dropping(width), blocks_for(-(-problem.size // 4)), arrays, (problem.size, chance))
        return out
