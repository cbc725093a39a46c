"""Small matrix products without packing: elements of A are broadcast, rows of B loaded, from where they are.

    for p in K by kc       what is read again shall still be near
      for j in N by nr
        for i in M by mr
          C[i:i+mr, j:j+nr] += sum over k of A[i:i+mr, k] * B[k, j:j+nr]

Packing pays if what was packed is read often, and if it would not stay in the cache as it is; a small product is over sooner.
A row of B of any length is whole vectors and one with a mask, or, where that would be mostly empty, vectors that hold several
steps of K (``cpu/steps.py``).  If B is there as its transpose, a row of it is no row in memory: then, panel by panel, it is
transposed in registers after all.

Sources: Heinecke et al., "LIBXSMM: Accelerating Small Matrix Multiplications by Runtime Code Generation", 2016; Frison et al.,
"BLASFEO: Basic Linear Algebra Subroutines for Embedded Optimization", 2018.
"""

import numpy as np
from numba import prange

from ..cpu.accumulate import accumulate
from ..cpu.compile import inlined, jit, threaded
from ..cpu.pack import pack, turn_rows
from ..cpu.places import columns, rows_apart
from ..cpu.steps import AHEAD, GROUP
from ..cpu.tile import LOAD_COST, fitting, spread_columns
from ..cpu.workspace import caches, even, far_caches
from .few_columns_cpu import height_of, lines_of, meet_few_columns, tile_of_few_columns
from .few_rows_cpu import groups_of, meet_few_rows, tile_of_few_rows
from .last_columns_cpu import meet_last_columns, tile_of_last_columns
from .operands import (
    PACKING,
    Epilogue,
    Matrix,
    Product,
    at,
    beyond,
    blocks_at,
    buffer,
    facts_at,
    leave,
    matrices,
    of_product,
    part,
    products_of,
)

TILES = (8, 2), (6, 4), (8, 3), (8, 1), (5, 5), (4, 6), (3, 7), (4, 4), (4, 2), (4, 1)
"""(rows, vectors): few rows, because each has an address of its own."""


TURNED = 96
"""Columns of B from which on an A that is there as its transpose is turned: then a tile's rows are streams, and stay near.

On a Granite Rapids 152 x 330 x 234 took 0.8 of the time so, 196 x 105 x 286 0.86, 289 x 69 x 58 1.0; 295 x 60 x 27 1.14.
"""


@inlined
def multiply(tile, few, turned, tall, blocks, shape, bounds, a, b, c, epilogue, rooms):
    """The part of C = epilogue(A @ B) within ``bounds`` for one thread.

    Each tile may be None: ``tile`` without whole vectors, ``few`` where masks do for the last columns, ``turned`` where A's
    rows are not so few that a B that is there as its transpose needs one of its own, ``tall`` where C's columns are not so few
    that an A that is there as its transpose does.
    blocks : steps of K and rows of A at once, steps of K for ``turned``, both for ``tall``, ``AHEAD`` if A is asked for
    rooms : for a panel of B, or what ``few``, ``turned`` or ``tall`` need; for a block of A that is turned
    """
    _, N, K = shape
    slice_, height, long, run, stretch, ahead = blocks
    top, bottom, left, right = bounds
    whole = right if few is None else min(right, N - N % few.lanes)
    if turned is not None and b.column != 1:
        meet_few_rows(turned, long, shape, left, right, a, b, c, epilogue, rooms[0])
        return
    if tall is not None and a.column != 1:
        meet_few_columns(tall, run, stretch, shape, bounds, a, b, c, epilogue, rooms[0])
        return
    turns = a.column != 1 and right - left >= TURNED
    if not turns:
        height = max(1, bottom - top)
    for k in range(0, max(1, K), slice_):
        depth = min(slice_, K - k)
        ends = k == 0, k + depth == K
        for i in range(top, bottom, height):
            end, near = min(bottom, i + height), beyond(a, i, k)
            if tile is not None:
                if turns:
                    near = Matrix(rooms[1], slice_, 1)
                    turn_rows(tile, at(a, i, k), a.column, end - i, depth, slice_, near.start)
                for j in range(left, whole, tile.columns):
                    row, step = at(b, k, j), b.row
                    if b.column != 1:
                        pack(tile, tile.columns, row, b.column, b.row, min(tile.columns, whole - j), depth, rooms[0])
                        row, step = rooms[0], tile.columns
                    across = columns(tile, row, whole - j)
                    meet(tile, across, step, depth, ends, j, (i, end, whole), near, c, epilogue)
            if few is not None and whole < right:
                meet_last_columns(few, (slice_, depth, ahead), ends, k, (i, end, whole, right), a, b, c, epilogue, rooms[0])


@jit
def multiply_one(tile, few, turned, tall, blocks, shape, bounds, a, b, c, epilogue, rooms):
    """``multiply`` as a function of its own: its loops find more registers than beside one over products."""
    multiply(tile, few, turned, tall, blocks, shape, bounds, a, b, c, epilogue, rooms)


@inlined
def meet(tile, across, step, depth, ends, j, bounds, a, c, epilogue):
    """A panel of B with a block of A, these steps of K: ``ends`` says whether they are the first and the last."""
    top, bottom, right = bounds
    first, _ = ends
    count = right - j
    bias = columns(tile, epilogue.bias + j, count if first else 0)
    for i in range(top, bottom, tile.rows):
        rows = bottom - i
        down = rows_apart(tile, at(a, i - top, 0), a.row, rows)
        total = spread_columns(tile, bias)
        if a.column == 1:  # so that one register leads to all elements of a row
            total = accumulate(total, down, 1, across, step, depth)
        else:
            total = accumulate(total, down, a.column, across, step, depth)
        leave(tile, total, ends, i, j, rows, count, c, epilogue)


@jit
def part_of(tile, wide, few, turned, tall, many, facts, shape, table, buffers, located, epilogue, thread, threads):
    """What thread ``thread`` of ``threads`` does of all products; ``many``: None, or they are so small that calls matter."""
    start, end, cut, cuts = products_of(thread, threads, table[1])
    blocks = blocks_at(tile, facts)
    bounds = part(tile, shape, PACKING if located[1].column != 1 else 0, cut, cuts)
    rooms = buffer(tile, buffers[0], thread), buffer(tile, buffers[1], thread)
    for product in range(start, end):
        a, b, c, addend = of_product(tile, located, table, product, shape)
        own = Epilogue(located[4], addend, epilogue[0], epilogue[1])
        if many is None:
            multiply_one(wide, few, turned, tall, blocks, shape, bounds, a, b, c, own, rooms)
        else:
            multiply(wide, few, turned, tall, blocks, shape, bounds, a, b, c, own, rooms)


@threaded
def forward(machinery, operands, epilogue, threads):
    tile, (wide, few, turned, tall, many), facts = machinery
    for thread in prange(threads):
        shape, table, b_rooms, a_rooms = facts_at(tile, facts)
        located, buffers = matrices(tile, operands, shape[1]), (b_rooms, a_rooms)  # a parallel loop takes no tuple of tuples
        part_of(tile, wide, few, turned, tall, many, facts, shape, table, buffers, located, epilogue, np.intp(thread), threads)


SHORT = 768
"""Of K at once: with a longer one the nearer caches lose what is to be read again."""


STREAMS = 16
"""Rows of a far B at once, each a stream, where caches are far.

There a line that the processor has not foreseen takes 110 ns, of which sixteen are under way at a time: 9 GB/s for 29 in long
runs.  On a Granite Rapids 16 x 4096 x 1024 took 0.53 of the time with 16 rows, 0.57 with 32, 0.78 with 64.
"""


def reads_once(problem):
    """Whether few rows of A meet a B that comes from far, in rows that are long runs, and C stays in level 2."""
    B, C = (rows * problem.N * np.dtype(problem.dtype).itemsize for rows in (problem.K, problem.M))
    level2 = caches().level2
    return far_caches() and problem.M <= FEW and problem.N > NARROW and C <= level2 // 2 < level2 < B


class UnpackedMatmul(Product):
    """A plan: the tiles of the whole vectors and of the columns that are left, and room for one panel of B."""

    run = forward

    def __init__(self, problem, threads=1, tile=None):
        few, turned = tile_of_last_columns(problem), tile_of_few_rows(problem)
        columns = problem.N - problem.N % few.lanes if few else problem.N
        wide = None if few and not columns else tile or tile_of_whole(problem, columns)
        tile = wide or few
        slice_ = even(problem.K, STREAMS if reads_once(problem) else SHORT, tile.lanes)
        height = even(problem.M, caches().level2 // 4 // (slice_ * tile.itemsize), tile.rows)
        width = max(tile.columns, tile.lanes + GROUP * few.vectors if few else 0)
        across = groups_of(turned, problem) * GROUP * turned.vectors if turned else 0
        long = even(problem.K, caches().level2 // 4 // (max(1, across) * tile.itemsize), tile.lanes)  # runs of B as long
        tall, run, stretch, sums = tile_of_few_columns(problem), 0, 0, 0
        if tall:
            far = far_caches() and problem.M * problem.K * tile.itemsize > caches().level2
            run, stretch = STREAMS if far else max(1, problem.K), height_of(tall, problem)
            sums = lines_of(tall, problem) * stretch
        sizes = max(slice_ * width, long * across, sums) + tile.lanes, slice_ * height
        many = True if stacked(problem) and problem.M * problem.N * problem.K <= SMALL else None
        blocks = slice_, height, long, run, stretch, AHEAD if problem.M * problem.K * tile.itemsize > caches().level2 else 0
        super().__init__(problem, threads, tile, (wide, few, turned, tall, many), *sizes, own=blocks)


def stacked(problem):
    """Whether there are several products, or could be."""
    return len(problem.out_shape) > 2


SMALL = 1 << 15
"""Multiply-adds of one of a stack of products up to which it is no function of its own.

On a Granite Rapids 1000 products of 4 x 4 x 4 took 0.68 of the time so, 500 of 8 x 8 x 8 0.77, 64 of 16 x 16 x 16 0.91, 64 of
32 x 32 x 32 0.95; but single ones of 5 x 300 x 300 1.06, in float64 7 x 1000 x 300 1.15.
"""


FAR_VECTOR = 2
"""``LOAD_COST`` of a vector of B from a slow level 2.

On a Granite Rapids 128 cubed ran at 63% of the FMA peak with 4 x 4 vectors, 69% with 8 x 2, 70% with 6 x 4; 96 cubed at 71%
with 8 x 3, 68% with 8 x 2; 128 x 100 x 4096 at 66% and 63%, 61% with what the multipliers alone would choose.
"""


FILLED = {2: (2, 4), 10: (10, 2), 20: (10, 2), 49: (10, 2)}
"""Tiles for some numbers of rows of A, which no other fills with as few passes over B's panel.

On a Granite Rapids 20 x 500 x 300 took 0.8 of the time so, 10 x 1000 x 1000 0.83, 10 x 128 x 10000 0.92 to 0.98, 2 x 256 x 784
0.73, 2 x 64 x 64 0.85, a stack of 49 x 32 x 49 0.9; 12 x 300 x 1500 with twelve rows 1.02, and with fourteen, for whose
addresses there are no registers, any product twice as long.
"""


IN_STACKS = (2, 1), (5, 1)
"""Tiles for products of a stack: while the sums of one wait for the multipliers, those of the next are formed.

On a Granite Rapids 500 products of 2 x 8 x 8 took 0.68 of the time so, 200 of 2 x 10 x 50 0.66, 200 of 10 x 10 x 10 0.81, 1000
of 4 x 4 x 4 0.83.
"""


def tile_of_whole(problem, columns):
    """The tile for the first ``columns`` columns."""
    vector_cost, several = FAR_VECTOR if far_caches() else LOAD_COST, stacked(problem)
    shapes = (*TILES, FILLED[problem.M]) if problem.M in FILLED else TILES
    shapes = (*shapes, *IN_STACKS) if several else shapes
    return fitting(shapes, max(1, columns), problem.dtype, max(1, problem.M), vector_cost=vector_cost, waits=not several)


NARROW, FEW = 256, 16
"""Columns of a B that is a few panels, and rows of an A with which no panel is read often: packing does not pay.

On one thread of a Zen 5 the blocked kernel took 1.22 times as long for 1000 x 100 x 1000, 1.08 for 64 x 64 x 16384; 1.65 for
8 x 1000 x 1000, 1.33 for 16 x 1000 x 1000.
"""

LARGE_A, LARGE_B, LARGE_C = 1 << 19, 1 << 21, 400_000
"""Elements from which on packing pays: A and B are then read from far for many panels, and C is not fetched ahead here.

The blocked kernel took 0.85 of the time for 1024 cubed; 0.85 for 32 x 2000 x 2000 but 1.31 for 32 x 1400 x 1400; 0.93 for
640 cubed, 0.88 for 512 x 2000 x 300 and 0.92 for 2048 x 2048 x 32, but 1.02 for 512 cubed.  With few rows it is a B of twice
the size: 0.63 for 16 x 4096 x 4096, 1.19 for 16 x 4096 x 1024.
"""


PACKED_ROWS, PACKED_COLUMNS, PACKED_DEPTH = 48, 49, 16
"""Rows of A, columns of B and steps of K from which on packing pays where level 2 is slow.

On a Granite Rapids the blocked kernel took 0.87 to 0.98 of the time for nearly all products of 48 to 400 rows, 57 to 784
columns and 16 to 700 steps, whatever was transposed, but 1.0 to 1.1 with 32 rows; 1.05 to 1.25 with 48 columns and A
transposed, 0.9 to 1.0 otherwise.  With fewer steps and 100 columns or more it was 0.56 to 0.95, with a C from far 0.43.
"""

LITTLE = 104
"""Columns below which the tile of few columns saves more than packing: 1.06 for 64 x 72 x 128, 1.03 to 1.1 for 64 x 100 x 300,
where 117 columns took 0.8.
"""


def packs_early(problem):
    """Whether level 2 is slow and the product large enough for packing, with no columns that another tile computes in less."""
    deep = problem.K >= PACKED_DEPTH or problem.N >= TURNED
    large = problem.M >= PACKED_ROWS and problem.N >= PACKED_COLUMNS and deep
    return far_caches() and large and (problem.N >= LITTLE or tile_of_last_columns(problem) is None)


def declines(problem):
    """Why another kernel should compute ``problem``."""
    M, N, K = problem.M, problem.N, problem.K
    few = M <= FEW
    if packs_early(problem):
        return ("B's rows come from a level 2 that is slow, in panels faster",)
    if N <= NARROW:
        return ()
    if LARGE_B * (1 + few) < N * K and not reads_once(problem):
        return (f"B has more than {LARGE_B * (1 + few)} elements, and is read in pieces",)
    if M * K > LARGE_A and not few:
        return (f"A has more than {LARGE_A} elements, and would be read for many panels of B",)
    if M * N > LARGE_C and not few:
        return (f"C has more than {LARGE_C} elements, and comes from far",)
    return ()
