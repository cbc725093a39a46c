"""A few rows times a matrix, and a matrix times a vector: the matrix is read from memory once, in its order.

There is one multiply-add or few for each element of B, so that memory sets the pace.  Two loops, as B is in memory:

    row by row         C[:, j:j+nr] += A[:, k:k+8] @ B[k:k+8, j:j+nr]     eight rows of B are read side by side
    column by column   C[i, j] = sum over lanes of A[i, k:] * B[k:, j]      four columns of B side by side, lanes along K

A matrix times a vector is the vector times the matrix's transpose.  Threads divide the columns of B.

Source: Goto & van de Geijn, "High-Performance Implementation of the Level-3 BLAS", 2008, and the level-2 BLAS of OpenBLAS.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.pack import transpose
from ..cpu.places import block, columns, panel, rows_apart
from ..cpu.share import stripe
from ..cpu.simd import prefetch
from ..cpu.tile import Tile, add_tile, load_tile, rank1, spread_columns, spread_rows, store_tile, zero
from ..cpu.tile_rows import add_rows, along
from .operands import Epilogue, Matrix, Product, at, begin, buffer, facts_at, finish, matrices, of_product, products_of

FEW = 4
"""With more rows there is arithmetic enough to do something else."""

ROWS_TOGETHER, COLUMNS_TOGETHER = 8, 4
"""Rows or columns of B that are read side by side.

Each is a stream, which the processor fetches ahead of its own accord if it is read by instructions of its own, and without a
mask.  On a Zen 5 a vector times 4096 x 4096 elements ran at 50 GB/s so, at 35 with masks and a loop over the rows.
"""

STRETCH = 4
"""Vectors of each column at once, each read by an instruction of its own: 57 GB/s for 43."""

AHEAD = 128
"""How far ahead, in elements, a column of B is fetched: the processor sees too late where a short one goes."""


@inlined
def biases(tile, bias, bias_step, j, count):
    """A row of C's biases from column j on; ``bias_step`` is 0 where one bias is for all."""
    if bias_step == 0:
        return spread_rows(tile, bias)
    return spread_columns(tile, columns(tile, bias + j, count))


@jit
def by_rows(tile, narrow, shape, bounds, a, b, c, epilogue, bias_step):
    """The columns from ``bounds[0]`` to ``bounds[1]`` of C, row by row of B; C holds the sums meanwhile.

    ``narrow`` is the tile for what is left of a row: a masked vector costs the same whether anything of it exists.
    """
    M, N, K = shape
    left, right = bounds
    whole = right - (right - left) % tile.columns
    together = max(1, K) if tile.columns >= N else ROWS_TOGETHER  # short rows are one stream, and C stays in registers
    for k in range(0, max(1, K), together):
        depth = min(together, K - k)
        for j in range(left, whole, tile.columns):
            add_products(tile, M, K, k, depth, j, tile.columns, panel(tile, at(b, k, j)), a, b, c, epilogue, bias_step)
        for j in range(whole, right, narrow.columns):
            across = columns(narrow, at(b, k, j), right - j)
            add_products(narrow, M, K, k, depth, j, right - j, across, a, b, c, epilogue, bias_step)


@inlined
def add_products(tile, M, K, k, depth, j, count, across, a, b, c, epilogue, bias_step):
    """What ``depth`` rows of B from row k on add to the columns of C from column j on; ``across``: theirs of row k."""
    place = block(tile, at(c, 0, j), c.row, M, count)
    if k == 0:
        total = biases(tile, epilogue.bias, bias_step, j, count)
        total = begin(tile, total, epilogue, True, 0, j, M, count)
    else:
        total = load_tile(tile, place)
    down = rows_apart(tile, at(a, 0, k), a.row, M)
    if depth == ROWS_TOGETHER:
        for step in range(ROWS_TOGETHER):  # LLVM unrolls it: each row is read by an instruction of its own
            total = rank1(total, down + step * a.column, across + step * b.row)
    else:
        for step in range(depth):
            total = rank1(total, down + step * a.column, across + step * b.row)
    if k + depth == K:
        finish(total, epilogue, place)
    else:
        store_tile(total, place)


@jit
def by_columns(tile, line, shape, bounds, a, b, c, epilogue, bias_step):
    """The same, column by column of B: ``tile`` has a row for each of the columns read together, ``line`` is their sums."""
    M, _, K = shape
    left, right = bounds
    stretch = STRETCH * tile.lanes
    whole = K - K % stretch
    for j in range(left, right, tile.rows):
        count = min(tile.rows, right - j)
        beside = rows_apart(tile, at(b, 0, j), b.column, count)
        for i in range(M):
            total, x = zero(tile), at(a, i, 0)
            for k in range(0, whole, stretch):
                for step in range(0, stretch, tile.lanes):
                    for column in range(tile.rows):
                        prefetch(at(b, 0, j + column) + (k + step + AHEAD))
                    total = along(total, beside + (k + step), panel(line, x + (k + step)))
            for k in range(whole, K, tile.lanes):
                total = along(total, beside + k, columns(line, x + k, K - k))
            sums = add_tile(add_rows(transpose(total)), biases(line, epilogue.bias, bias_step, j, count))
            place = block(line, at(c, i, j), c.row, 1, count)
            finish(begin(line, sums, epilogue, True, i, j, 1, count), epilogue, place)


@jit
def side_by_side(a, shape, room):
    """A with its rows one after the other and no gaps, in ``room`` if it is not so already."""
    M, _, K = shape
    if a.column == 1:
        return a
    for i in range(M):
        for k in range(K):
            room[i * K + k] = at(a, i, k)[0]
    return Matrix(room, K, 1)


@jit
def part_of(tiles, shape, table, rooms, located, epilogue, thread, threads):
    """What thread ``thread`` of ``threads`` does of all products."""
    tile, narrow, tall, line = tiles
    M, N, K = shape
    start, end, cut, cuts = products_of(thread, threads, table[1])
    for product in range(start, end):
        a, b, c, addend = of_product(tile, located, table, product, shape)
        size, bias_step = shape, 1
        if N == 1:  # the transpose of the vector times the transpose of the matrix
            a, b = Matrix(b.start, b.column, b.row), Matrix(a.start, a.column, a.row)
            c, addend = Matrix(c.start, M, 1), Matrix(addend.start, M, 1)
            size, bias_step = (1, M, K), 0
        bounds = stripe(cut, cuts, size[1], tile.columns)
        own = Epilogue(located[4], addend, epilogue[0], epilogue[1])
        if b.column == 1:
            by_rows(tile, narrow, size, bounds, a, b, c, own, bias_step)
        else:
            by_columns(tall, line, size, bounds, side_by_side(a, size, buffer(tile, rooms, thread)), b, c, own, bias_step)


@threaded
def forward(machinery, operands, epilogue, threads):
    tile, (narrow, tall, line), facts = machinery
    for thread in prange(threads):
        shape, table, rooms, _ = facts_at(tile, facts)
        part_of((tile, narrow, tall, line), shape, table, rooms, matrices(tile, operands), epilogue, np.intp(thread), threads)


class VectorMatmul(Product):
    """A plan: the tiles of both loops, and room for A's rows."""

    run = forward
    grain = 400_000  # of a vector 8 µs: memory's pace is a fifth of the multipliers'

    def __init__(self, problem, threads=1):
        rows, dtype = max(1, min(problem.M, FEW)) if problem.N != 1 else 1, problem.dtype
        wide = max((tile for v in range(1, 9) if (tile := Tile(rows, v, dtype)).fits()), key=lambda tile: tile.vectors)
        line = Tile(1, 1, dtype)
        narrow = Tile(rows, min(wide.vectors, 4), dtype)
        tall = Tile(min(COLUMNS_TOGETHER, line.lanes), 1, dtype)  # the sums of its rows become one vector
        super().__init__(problem, threads, wide, (narrow, tall, line), FEW * problem.K)


def refuses(problem):
    """Why ``problem`` cannot be computed."""
    if problem.M > FEW and problem.N != 1:
        return (f"more than {FEW} rows, and more than one column",)
    return ()


NEAR = 1 << 19
"""Elements of B.  4 x 512 x 512 took 1.5 times as long as unpacked, 4 x 4096 x 4096 half as long (one thread of a Zen 5)."""


def declines(problem):
    """Why another kernel should compute ``problem``."""
    if problem.M > 1 and problem.N > 1 and problem.N * problem.K <= NEAR:
        return ("B stays in the cache, and may be read in any order",)
    return ()
