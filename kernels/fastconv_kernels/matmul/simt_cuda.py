"""Matrix product in plain float32 arithmetic: a tile of C in the registers of a block, copies ahead of the arithmetic.

The loop along K is ``cuda.pipeline``'s, what a block does with two slices ``cuda.simt``'s: 8 x 8 sums for each thread, from
panels of 16 along K that arrive in shared memory while the one before is multiplied.

Sources: Volkov & Demmel, "Benchmarking GPUs to Tune Dense Linear Algebra", 2008; Nath, Tomov & Dongarra, "An Improved MAGMA
GEMM for Fermi GPUs", 2010.
"""

from functools import partial

from ..cuda import simt
from ..cuda.matmul import MatrixProduct

Matmul = partial(MatrixProduct, engine=simt.engine, tiles=simt.TILES)
