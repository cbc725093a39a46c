"""A few rows times a matrix, and a matrix times a vector: the matrix is read from memory once, in its order.

There is one multiply-add or few for each element of B, so that memory sets the pace.  Two loops, as B is in memory:

    row by row         C[:, j:j+nr] += A[:, k:k+4] @ B[k:k+4, j:j+nr]     four or eight rows of B are read side by side
    column by column   C[i, j] = sum over lanes of A[i, k:] * B[k:, j]      four columns of B side by side, lanes along K

A matrix times a vector is the vector times the matrix's transpose.  Threads divide the columns of B, and of short rows, of
which a part is no stream, first the rows: in as many pieces for any number of threads, whose sums are added up in the end.

Source: Goto & van de Geijn, "High-Performance Implementation of the Level-3 BLAS", 2008, and the level-2 BLAS of OpenBLAS.
"""

import numpy as np
from numba import prange

from ..cpu.compile import apart, inlined, jit, threaded
from ..cpu.pack import add_across
from ..cpu.places import block, columns, panel, rows_apart
from ..cpu.share import share, stripe, threads_for
from ..cpu.simd import prefetch
from ..cpu.tile import Tile, add_tile, load_tile, rank1, rectify, room, spread_columns, spread_rows, store_tile, zero
from ..cpu.tile_rows import along
from ..cpu.workspace import caches, far_caches
from .operands import (
    FEW,
    Epilogue,
    Matrix,
    Product,
    at,
    begin,
    beyond,
    buffer,
    facts_at,
    finish,
    matrices,
    of_product,
    products_of,
)

NEAR_ROWS, FAR_ROWS, COLUMNS_TOGETHER, SHORT_TOGETHER = 4, 8, 4, 8
"""Rows or columns of B that are read side by side.

Each is a stream, which the processor fetches ahead of its own accord if it is read by instructions of its own, and without a
mask.  On a Zen 5 a vector times 4096 x 4096 elements, from memory, took 1230 µs with eight rows, 1400 to 1500 with one or two.
From level 3 a vector times 2000 x 1000 took 72 µs with four rows, 78 with eight; and 1000 x 2000 took 68 with the next four
fetched ahead, 72 without, which from memory costs a tenth.

Where caches are far no B is near: on a Granite Rapids 1 x 4096 x 64 took 0.55 of the time with eight rows and nothing fetched
ahead, 1 x 2048 x 128 0.55, 1 x 1000 x 500 1.0, 2 x 1000 x 1000 0.8, 4 x 1000 x 2048 0.5.
"""

SLICE = 128
"""Rows of a near B at a time where A has several: to load and store C oftener takes longer than to wait for B.

4 x 1000 x 2048 took 87 µs so, 113 with four rows at a time.  From memory 4 x 4096 x 4096 took 2270 with eight, and 2740 with
four.
"""

NEAREST, NEARBY = 1 << 11, 1 << 14
"""Columns of C at a time, of a B that is near and of one that is far: the sums stay in level 1, and in level 2."""

PIECES = 4
"""Of K, each with sums of its own, where there are at most NEAREST columns and grains for two threads.

On two threads of a Granite Rapids, whose memory is read at its pace in long runs alone, 1 x 1000 x 2048 took 155 µs so, and
229 with half of the columns for each; 1 x 1024 x 1024 61 for 95, 1 x 2000 x 1000 146 for 169, 1 x 4096 x 1024 376 for 330.
"""

VECTORS = 4
"""Of a tile, at most: eight took as long, and leave more columns to be done one vector at a time."""

STRETCH = 4
"""Vectors of each column at once, each read by an instruction of its own: 57 GB/s for 43."""

SHORT = 128
"""Elements up to which twice as many columns are read together, a vector at a time, whose sums are then added across.

On a Granite Rapids 4096 x 1 x 64 took 0.85 of the time so, 16384 x 1 x 32 0.76, 1000 x 1 x 100 0.9; but 3136 x 1 x 256 1.05.
"""

AHEAD = 128
"""How far ahead, in elements, a column of B is fetched: the processor sees too late where a short one goes."""


@inlined
def biases(tile, bias, bias_step, j, count):
    """A row of C's biases from column j on; ``bias_step`` is 0 where one bias is for all."""
    if bias_step == 0:
        return spread_rows(tile, bias)
    return spread_columns(tile, columns(tile, bias + j, count))


@jit
def by_rows(tile, narrow, near, K, bounds, ends, own, epilogue, bias_step):
    """The columns from ``bounds[0]`` to ``bounds[1]`` of C, row by row of B; C holds the sums meanwhile.

    ``narrow`` is the tile of one vector; ``near``: whether B is in a level 3 that is not far; ``ends``: whether these rows of
    B are the first, to whose products bias and addend belong, and whether they are the last.
    """
    (left, right), (starts, ends_here), (a, b, c) = bounds, ends, own
    width = NEAREST if near else NEARBY
    for first in range(left, right, width):
        count = min(width, right - first)
        for j in range(first, first + count, narrow.columns):
            rest, total = first + count - j, zero(narrow)
            if starts:
                total = biases(narrow, epilogue.bias, bias_step, j, rest)
                total = begin(narrow, total, epilogue, True, 0, j, narrow.rows, rest)
            store_tile(total, block(narrow, at(c, 0, j), c.row, narrow.rows, rest))
        add_products(tile, narrow, count, K, near, a, beyond(b, 0, first), beyond(c, 0, first))
        if epilogue.rectifies and ends_here:
            for j in range(first, first + count, narrow.columns):
                place = block(narrow, at(c, 0, j), c.row, narrow.rows, first + count - j)
                finish(load_tile(narrow, place), epilogue, place)


@jit
def add_products(tile, narrow, N, K, near, a, b, c):
    """C += A @ B."""
    b, c = Matrix(b.start, b.row, 1), Matrix(c.start, c.row, 1)  # LLVM knows the strides now
    if tile.columns >= N:  # short rows are one stream, and C stays in registers
        add_to(block(tile, c.start, c.row, tile.rows, N), tile, K, a, columns(tile, b.start, N), b.row)
        return
    done = 0
    if near and tile.rows == 1:
        done = K - K % NEAR_ROWS
        for k in range(0, done, NEAR_ROWS):
            add_rows_of(tile, narrow, N, NEAR_ROWS, True, beyond(a, 0, k), beyond(b, k, 0), c)
    elif not near:
        done = K - K % FAR_ROWS
        for k in range(0, done, FAR_ROWS):
            add_rows_of(tile, narrow, N, FAR_ROWS, False, beyond(a, 0, k), beyond(b, k, 0), c)
    for k in range(done, K, SLICE):
        add_rows_of(tile, narrow, N, min(SLICE, K - k), False, beyond(a, 0, k), beyond(b, k, 0), c)


@apart  # or the elements of A are read again for every tile
@inlined
def add_rows_of(tile, narrow, N, K, ahead, a, b, c):
    """``add_products`` of few rows of B; with ``ahead`` as many after them are fetched.

    Whoever waits for memory may do little else: the less there is between two loads, the more of them are under way.
    No vector is masked but the last: one that is masked as a whole may lie on a page that the process has never touched, and
    then takes as long as a hundred others.
    """
    wide, whole = N - N % tile.columns, N - N % narrow.columns
    for j in range(0, wide, tile.columns):
        if ahead:
            for k in range(K, 2 * K):
                for i in range(0, tile.columns, tile.lanes):
                    prefetch(at(b, k, j + i))
        add_to(block(tile, at(c, 0, j), c.row, tile.rows, tile.columns), tile, K, a, panel(tile, at(b, 0, j)), b.row)
    for j in range(wide, whole, narrow.columns):
        add_to(block(narrow, at(c, 0, j), c.row, narrow.rows, narrow.columns), narrow, K, a, panel(narrow, at(b, 0, j)), b.row)
    if whole < N:
        across = columns(narrow, at(b, 0, whole), N - whole)
        add_to(block(narrow, at(c, 0, whole), c.row, narrow.rows, N - whole), narrow, K, a, across, b.row)


@apart
@inlined
def add_to(place, tile, K, a, across, step):
    """The tile of C at ``place`` += A @ B, whose row k is ``across + k * step``."""
    total = load_tile(tile, place)
    for k in range(K):  # if LLVM knows K, each row is read by an instruction of its own
        total = rank1(total, rows_apart(tile, at(a, 0, k), a.row, tile.rows), across + k * step)
    store_tile(total, place)


@jit
def by_columns(tile, line, shape, bounds, a, b, c, epilogue, bias_step):
    """The same, column by column of B: ``tile`` has a row for each of the columns read together, ``line`` is their sums."""
    M, _, K = shape
    left, right = bounds
    stretch = (STRETCH if tile.rows <= COLUMNS_TOGETHER else 1) * tile.lanes
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
            sums = add_tile(add_across(total), biases(line, epilogue.bias, bias_step, j, count))
            place = block(line, at(c, i, j), c.row, 1, count)
            finish(begin(line, sums, epilogue, True, i, j, 1, count), epilogue, place)


@jit
def side_by_side(a, shape, place):
    """A with its rows one after the other and no gaps, in ``place`` if it is not so already."""
    M, _, K = shape
    if a.column == 1:
        return a
    for i in range(M):
        for k in range(K):
            place[i * K + k] = at(a, i, k)[0]
    return Matrix(place, K, 1)


@jit
def by_pieces(tile, narrow, near, pieces, shape, sums, a, b, c, epilogue, bias_step, thread, threads):
    """A thread's part of C, row by row of B: of each piece of K the columns whose turn it is.

    The sums of the first piece are formed in C, those of the others in ``sums``.
    """
    M, N, K = shape
    panels = max(1, (N + tile.columns - 1) // tile.columns)
    start, end = share(thread, threads, pieces * panels)
    for piece in range(start // panels, (end + panels - 1) // panels):
        bounds = max(0, start - piece * panels) * tile.columns, min(N, (end - piece * panels) * tile.columns)
        top, bottom = stripe(piece, pieces, K, FAR_ROWS)
        place = Matrix(sums + (piece - 1) * M * N, N, 1) if piece > 0 else c
        own, ends = (beyond(a, 0, top), beyond(b, top, 0), place), (piece == 0, pieces == 1)
        by_rows(tile, narrow, near, bottom - top, bounds, ends, own, epilogue, bias_step)


@jit
def part_of(tiles, near, pieces, shape, table, buffers, located, epilogue, thread, threads):
    """What thread ``thread`` of ``threads`` does of all products."""
    tile, narrow, tall, line = tiles
    start, end, cut, cuts = products_of(thread, threads, table[1])
    for product in range(start, end):
        a, b, c, addend = of_product(tile, located, table, product, shape)
        size, bias_step, a, b, c, addend = in_a_row(shape, a, b, c, addend)
        own = Epilogue(located[4], addend, epilogue[0], epilogue[1])
        if b.column == 1:
            sums = room(tile, buffers[1][0])
            by_pieces(tile, narrow, near, pieces, size, sums, a, b, c, own, bias_step, cut, cuts)
        else:
            bounds, a = stripe(cut, cuts, size[1], line.columns), side_by_side(a, size, buffer(tile, buffers[0], thread))
            by_columns(tall, line, size, bounds, a, b, c, own, bias_step)


@inlined
def in_a_row(shape, a, b, c, addend):
    """(shape, 1 or 0 if all have one bias, A, B, C, addend); a matrix times a vector as the transposes of both."""
    M, N, K = shape
    if N != 1:
        return shape, 1, a, b, c, addend
    a, b = Matrix(b.start, b.column, b.row), Matrix(a.start, a.column, a.row)
    return (1, M, K), 0, a, b, Matrix(c.start, M, 1), Matrix(addend.start, M, 1)


@jit
def join(tile, narrow, pieces, shape, sums, located, rectifies):
    """C, of one product, with the sums of the other pieces, if it was formed ``by_pieces``."""
    a, b, c, addend, _ = located
    (_, N, _), _, _, b, c, _ = in_a_row(shape, a, b, c, addend)
    for j in range(0, N if pieces > 1 and b.column == 1 else 0, narrow.columns):
        place = block(narrow, at(c, 0, j), c.row, narrow.rows, N - j)
        total = load_tile(narrow, place)
        for piece in range(pieces - 1):
            other = room(tile, sums[0]) + (piece * narrow.rows * N + j)
            total = add_tile(total, load_tile(narrow, block(narrow, other, N, narrow.rows, N - j)))
        store_tile(rectify(total) if rectifies else total, place)


@threaded
def forward(machinery, operands, epilogue, threads):
    tile, (narrow, tall, line, near, pieces), facts = machinery
    for thread in prange(threads):
        shape, table, rooms, sums = facts_at(tile, facts)
        located, buffers = matrices(tile, operands, shape[1]), (rooms, sums)  # a parallel loop takes no tuple of tuples
        tiles = tile, narrow, tall, line
        part_of(tiles, near, pieces, shape, table, buffers, located, epilogue, np.intp(thread), threads)
    shape, _, _, sums = facts_at(tile, facts)
    join(tile, narrow, pieces, shape, sums, matrices(tile, operands, shape[1]), epilogue[1])


class VectorMatmul(Product):
    """A plan: the tiles of both loops, and room for A's rows."""

    run = forward
    grain = 400_000  # of a vector 8 µs: memory's pace is a fifth of the multipliers'

    def __init__(self, problem, threads=1):
        rows, dtype = max(1, min(problem.M, FEW)) if problem.N != 1 else 1, problem.dtype
        shapes = (Tile(rows, vectors, dtype) for vectors in range(VECTORS, 0, -1))
        wide, narrow, line = next(filter(Tile.fits, shapes)), Tile(rows, 1, dtype), Tile(1, 1, dtype)
        together = SHORT_TOGETHER if problem.K <= SHORT else COLUMNS_TOGETHER
        tall = Tile(min(together, line.lanes), 1, dtype)  # the sums of its rows become one vector
        near = not far_caches() and problem.N * problem.K * line.itemsize <= caches().level3 // 2
        columns = problem.M if problem.N == 1 else problem.N
        cuts = columns <= NEAREST and problem.flops >= 2 * self.grain and len(problem.out_shape) == 2
        pieces = PIECES if cuts else 1
        sums = (pieces - 1) * rows * columns  # of all threads
        threads = threads_for(threads, problem.flops, self.grain)
        sizes = FEW * problem.K, -(-sums // threads)
        super().__init__(problem, threads, wide, (narrow, tall, line, near, pieces), *sizes)


def refuses(problem):
    """Why ``problem`` cannot be computed."""
    if not 0 < problem.M <= FEW and problem.N != 1:
        return (f"more than {FEW} rows, and more than one column",)
    return ()


NEAR = 1 << 19
"""Elements of B.  4 x 512 x 512 took 1.1 times as long as unpacked, 4 x 4096 x 4096 half as long (one thread of a Zen 5)."""


def declines(problem):
    """Why another kernel should compute ``problem``."""
    if problem.M > 1 and problem.N > 1 and problem.N * problem.K <= NEAR:
        return ("B stays in the cache, and may be read in any order",)
    return ()
