"""Matrix product by blocks: the five loops of Goto and BLIS around a tile of registers.

    for jc in N by nc        B's block (kc x nc) is shared by all of A:                   level-3 cache
      for pc in K by kc      C is read and written once for each kc:                      kc as long as level 1 allows
        for ic in M by mc    A's block (mc x kc) is packed, then meets every panel of B:  level-2 cache
          for jr in nc by nr   one panel of B (kc x nr) meets every panel of A:           level-1 cache
            for ir in mc by mr   the tile:                                                registers

Sources: Goto & van de Geijn 2008; Van Zee & van de Geijn 2015; Low et al., "Analytical Modeling Is Enough for
High-Performance BLIS", 2016, for the block sizes.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.pack import pack
from ..cpu.places import block, columns
from ..cpu.share import THREAD_FLOPS, stripe, threads_for
from ..cpu.tile import (
    accumulate_packed,
    add_tile,
    fitting,
    load_tile,
    pointer,
    prefetch_tile,
    rectify,
    spread_columns,
    store_tile,
)
from ..cpu.workspace import caches, even, workspace

TILES = (14, 2), (14, 1), (6, 2), (12, 1)
"""(rows, vectors) whose panels keep both multipliers busy, for 32 and for 16 registers."""


class Matrix(NamedTuple):
    """A matrix in memory: element (i, j) is at ``start + i * row + j * column``."""

    start: Any
    row: int
    column: int


class Epilogue(NamedTuple):
    """C = relu?(A @ B + bias + addend?): ``bias`` for each column; ``addend`` a matrix like C, C itself to accumulate."""

    bias: Any
    addend: Any
    adds: bool
    rectifies: bool


@inlined
def at(matrix, i, j):
    """The address of element (i, j)."""
    return matrix.start + (i * matrix.row + j * matrix.column)


@jit
def multiply(tile, blocks, shape, a, b, c, epilogue, a_block, b_block):
    """C = epilogue(A @ B) for one thread: ``shape`` is (M, N, K); ``a_block`` and ``b_block`` are the packing buffers."""
    M, N, K = shape
    MC, KC, NC = blocks
    mr, nr = tile.rows, tile.columns
    for jc in range(0, N, NC):
        nc = min(NC, N - jc)
        for pc in range(0, max(1, K), KC):  # once for K = 0 too: a product of nothing is bias and addend
            kc = min(KC, K - pc)
            for ic in range(0, M, MC):
                mc = min(MC, M - ic)
                for ir in range(0, mc, mr):
                    pack(tile, mr, at(a, ic + ir, pc), a.row, a.column, min(mr, mc - ir), kc, a_block + ir * kc)
                for jr in range(0, nc, nr):
                    # Packed just before its first use, a panel is still in level 1 when the tiles read it.  If A is a
                    # single block no panel is used twice, and all can take the same place.
                    packed = b_block + (jr * kc if M > MC else 0)
                    if ic == 0:
                        pack(tile, nr, at(b, pc, jc + jr), b.column, b.row, min(nr, nc - jr), kc, packed)
                    bias = columns(tile, epilogue.bias + (jc + jr), N - jc - jr if pc == 0 else 0)
                    for ir in range(0, mc, mr):
                        place = block(tile, at(c, ic + ir, jc + jr), c.row, M - ic - ir, N - jc - jr)
                        prefetch_tile(place)
                        total = accumulate_packed(tile, spread_columns(tile, bias), a_block + ir * kc, packed, kc)
                        if epilogue.adds or pc > 0:  # the first slice of K meets the addend, the others what C has already
                            addend = epilogue.addend if pc == 0 else c
                            other = block(tile, at(addend, ic + ir, jc + jr), addend.row, M - ic - ir, N - jc - jr)
                            total = add_tile(total, load_tile(tile, other))
                        if epilogue.rectifies and pc + kc == K:
                            total = rectify(total)
                        store_tile(total, place)


@jit
def part_of(tile, blocks, shape, operands, strides, epilogue, a_blocks, b_blocks, part, parts):
    """Part ``part`` of ``parts`` of C: a stripe of rows if C is tall, of columns if it is wide.  K is never divided."""
    M, N, K = shape
    a, b, c, bias, addend = operands
    adds, rectifies = epilogue
    a_row, a_column, b_row, b_column = strides
    tall = M >= N
    top, bottom = stripe(part if tall else 0, parts if tall else 1, M, tile.rows)
    left, right = stripe(0 if tall else part, 1 if tall else parts, N, tile.columns)
    A = Matrix(pointer(tile, a, top * a_row), a_row, a_column)
    B = Matrix(pointer(tile, b, left * b_column), b_row, b_column)
    C = Matrix(pointer(tile, c, top * N + left), N, 1)
    extra = Matrix(pointer(tile, addend, top * N + left), N, 1)
    finish = Epilogue(pointer(tile, bias, left), extra, adds, rectifies)
    a_block = pointer(tile, a_blocks, part * a_blocks.shape[1])
    b_block = pointer(tile, b_blocks, part * b_blocks.shape[1])
    multiply(tile, blocks, (bottom - top, right - left, K), A, B, C, finish, a_block, b_block)


@threaded
def forward(tile, blocks, shape, operands, strides, epilogue, a_blocks, b_blocks, threads):
    for thread in prange(threads):
        part_of(tile, blocks, shape, operands, strides, epilogue, a_blocks, b_blocks, np.intp(thread), threads)


class BlockedMatmul:
    """A plan: the tile, the block sizes and the packing buffers for products of one shape.  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        self.shape = problem.M, problem.N, problem.K
        self.threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        self.tile = tile or fitting(TILES, max(1, problem.N), problem.dtype)
        self.blocks = blocks_for(self.tile, *self.shape)
        mc, kc, nc = self.blocks
        self.a_blocks = workspace(self.threads, mc * kc + self.tile.lanes, problem.dtype)
        self.b_blocks = workspace(self.threads, nc * kc + self.tile.lanes, problem.dtype)
        self.workspace_bytes = self.a_blocks.nbytes + self.b_blocks.nbytes
        self.no_bias = np.zeros(problem.N, problem.dtype)

    def __call__(self, a, b, out, bias=None, residual=None, activation=None):
        """Write activation(a @ b + bias + residual) into ``out``.

        Parameters
        ----------
        a : (M, K), b : (K, N)
            Each C-contiguous or the transpose of a C-contiguous array.
        out, residual : (M, N), C-contiguous.  ``residual`` may be ``out``.
        bias : (N,)
        activation : None or "relu"
        """
        strides = (*strides_of(a), *strides_of(b))
        operands = (
            a if a.flags.c_contiguous else a.T,
            b if b.flags.c_contiguous else b.T,
            out,
            self.no_bias if bias is None else bias,
            out if residual is None else residual,
        )
        epilogue = residual is not None, activation == "relu"
        forward(self.tile, self.blocks, self.shape, operands, strides, epilogue, self.a_blocks, self.b_blocks, self.threads)
        return out


def strides_of(matrix):
    """(row, column) strides in elements; a matrix of one row or column counts as C-contiguous, whatever NumPy reports."""
    return (matrix.shape[1], 1) if matrix.flags.c_contiguous else (1, matrix.shape[0])


def blocks_for(tile, M, N, K):
    """(mc, kc, nc): the largest blocks that the caches hold, evened out so that no last block is a sliver."""
    memory, itemsize = caches(), tile.itemsize
    kc = memory.level1 // ((tile.rows + tile.columns) * itemsize)  # one panel of A and one of B fill level 1
    kc = even(K, kc, tile.lanes)
    mc = even(M, memory.level2 // 3 // (kc * itemsize), tile.rows)  # a third: B's panel and C pass through too
    nc = even(N, memory.level3 // 4 // (kc * itemsize), tile.columns)  # a quarter: level 3 is shared by the cores
    return mc, kc, nc
