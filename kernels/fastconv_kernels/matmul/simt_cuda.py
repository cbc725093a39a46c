"""Matrix product in plain float32 arithmetic: a tile of C in the registers of a block, copies ahead of the arithmetic.

    block      128 x 128 of C with 256 threads (64 x 64, 32 x 64 of small matrices), K in slices of 16
      stages   3 (4): two slices are under way while one is multiplied
      copies   all threads, 16 or 4 bytes at a time, past the registers
      sums     8 x 8 for each thread, in registers
      barrier  one for each slice: it has arrived, and the stage that is filled next has been read

The loop along K is ``cuda.pipeline``'s, what a block does with two slices ``cuda.simt``'s.

Sources: Volkov & Demmel, "Benchmarking GPUs to Tune Dense Linear Algebra", 2008; Nath, Tomov & Dongarra, "An Improved MAGMA
GEMM for Fermi GPUs", 2010.
"""

from functools import partial

from ..cuda import simt
from ..cuda.matmul import MatrixProduct

Matmul = partial(MatrixProduct, engine=simt.engine, tiles=simt.TILES)
