"""How many blocks a loop over single elements is shared by: a *grid-stride* loop.

    for i in range(cuda.grid(1), size, cuda.gridsize(1))          thread t of T takes t, t + T, t + 2 T, …

Threads side by side take elements side by side, so that what a warp reads at a time are whole lines of memory.  There are as
many threads as the GPU runs at once, and no more: each goes on to its next element without being started anew.

Source: Harris, "CUDA Pro Tip: Write Flexible Kernels with Grid-Stride Loops", NVIDIA, 2013.
"""

from .asm import SIMULATED
from .operands import MULTIPROCESSORS

THREADS = 32 if SIMULATED else 256
"""Of a block."""

RESIDENT = 8
"""Blocks on one multiprocessor: 2048 threads, with 32 registers each, keep enough of memory's lines under way."""

MOST_BLOCKS = 2 if SIMULATED else RESIDENT * MULTIPROCESSORS


def blocks_for(count, threads=THREADS):
    """Blocks for ``count`` turns of the loop; none for nothing."""
    return min(MOST_BLOCKS, -(-count // threads))
