"""How many blocks a loop over single elements is shared by: a *grid-stride* loop.

    for i in range(cuda.grid(1), size, cuda.gridsize(1))          thread t of T takes t, t + T, t + 2 T, …

Threads side by side take elements side by side, so that what a warp reads at a time are whole lines of memory.  There are as
many threads as the GPU runs at once, and no more: each goes on to its next element without being started anew.

Source: Harris, "CUDA Pro Tip: Write Flexible Kernels with Grid-Stride Loops", NVIDIA, 2013.
"""

from functools import cache

from .asm import SIMULATED
from .build import device
from .memory import at, fetch_four, store_four
from .operands import MULTIPROCESSORS

THREADS = 32 if SIMULATED else 256
"""Of a block."""

RESIDENT = 8
"""Blocks on one multiprocessor: 2048 threads, with 32 registers each, keep enough of memory's lines under way."""

MOST_BLOCKS = 2 if SIMULATED else RESIDENT * MULTIPROCESSORS


def blocks_for(count, threads=THREADS):
    """Blocks for ``count`` turns of the loop; none for nothing."""
    return min(MOST_BLOCKS, -(-count // threads))


@cache
def movers(width):
    """The functions that load and store ``width`` elements side by side, 4 or 1."""

    @device
    def load(out, memory, place):
        if width == 4:
            fetch_four(out, at(memory, place))
        else:
            out[0] = memory[place]

    @device
    def store(memory, place, values):
        if width == 4:
            store_four(at(memory, place), values)
        else:
            memory[place] = values[0]

    return load, store
