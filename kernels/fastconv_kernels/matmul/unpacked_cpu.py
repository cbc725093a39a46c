"""Small matrix products without packing: elements of A are broadcast, rows of B loaded, from where they are.

    for p in K by kc       what is read again shall still be near
      for j in N by nr
        for i in M by mr
          C[i:i+mr, j:j+nr] += sum over k of A[i:i+mr, k] * B[k, j:j+nr]

Packing pays if what was packed is read often, and if it would not stay in the cache as it is; a small product is over sooner.
A row of B of any length is whole vectors and one with a mask.  If B is there as its transpose, a row of it is no row in
memory: then, panel by panel, it is transposed in registers after all.

Sources: Heinecke et al., "LIBXSMM: Accelerating Small Matrix Multiplications by Runtime Code Generation", 2016; Frison et al.,
"BLASFEO: Basic Linear Algebra Subroutines for Embedded Optimization", 2018.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.pack import pack
from ..cpu.places import block, columns, rows_apart
from ..cpu.tile import add_tile, fitting, load_tile, rank1, spread_columns, store_tile
from ..cpu.workspace import even
from .operands import Epilogue, Product, at, begin, buffer, facts_at, finish, matrices, of_product, part, products_of

TILES = (8, 2), (6, 4), (8, 3), (8, 1), (5, 5), (4, 6), (3, 7), (4, 4), (4, 2), (4, 1)
"""(rows, vectors): few rows, because each has an address of its own."""


@inlined
def accumulate_apart(total, a, a_step, b, b_step, depth):
    """total + A @ B: from one k to the next the rows of A are ``a_step`` further, those of B ``b_step``."""
    for k in range(depth):
        total = rank1(total, a + k * a_step, b + k * b_step)
    return total


@jit
def multiply(tile, slice_, shape, bounds, a, b, c, epilogue, panel):
    """The part of C = epilogue(A @ B) within ``bounds`` for one thread; ``panel`` is room for a panel of B."""
    _, _, K = shape
    _, _, left, right = bounds
    for k in range(0, max(1, K), slice_):
        depth = min(slice_, K - k)
        for j in range(left, right, tile.columns):
            row, step = at(b, k, j), b.row
            if b.column != 1:
                pack(tile, tile.columns, row, b.column, b.row, min(tile.columns, right - j), depth, panel)
                row, step = panel, tile.columns
            across = columns(tile, row, right - j)
            meet(tile, across, step, depth, (k == 0, k + depth == K), k, j, bounds, a, c, epilogue)


@inlined
def meet(tile, across, step, depth, ends, k, j, bounds, a, c, epilogue):
    """A panel of B with all of A: ``ends`` says whether it is the first and the last of K."""
    top, bottom, _, right = bounds
    first, last = ends
    count = right - j
    bias = columns(tile, epilogue.bias + j, count if first else 0)
    for i in range(top, bottom, tile.rows):
        rows = bottom - i
        place = block(tile, at(c, i, j), c.row, rows, count)
        down = rows_apart(tile, at(a, i, k), a.row, rows)
        total = accumulate_apart(spread_columns(tile, bias), down, a.column, across, step, depth)
        if not first:  # what the slices of K before this one have summed
            total = add_tile(total, load_tile(tile, place))
        total = begin(tile, total, epilogue, first, i, j, rows, count)
        if last:
            finish(total, epilogue, place)
        else:
            store_tile(total, place)


@jit
def part_of(tile, slice_, shape, table, panels, located, epilogue, thread, threads):
    """What thread ``thread`` of ``threads`` does of all products."""
    start, end, cut, cuts = products_of(thread, threads, table[1])
    bounds, panel = part(tile, shape, located[1].column != 1, cut, cuts), buffer(tile, panels, thread)
    for product in range(start, end):
        a, b, c, addend = of_product(tile, located, table, product, shape)
        multiply(tile, slice_, shape, bounds, a, b, c, Epilogue(located[4], addend, epilogue[0], epilogue[1]), panel)


@threaded
def forward(machinery, operands, epilogue, threads):
    tile, slice_, facts = machinery
    for thread in prange(threads):
        shape, table, panels, _ = facts_at(tile, facts)
        located = matrices(tile, operands)
        part_of(tile, slice_, shape, table, panels, located, epilogue, np.intp(thread), threads)


SHORT = 768
"""Of K at once: with a longer one the nearer caches lose what is to be read again."""


class UnpackedMatmul(Product):
    """A plan: the tile, and room for one panel of B."""

    run = forward

    def __init__(self, problem, threads=1, tile=None):
        tile = tile or fitting(TILES, max(1, problem.N), problem.dtype, max(1, problem.M))
        slice_ = even(problem.K, SHORT, tile.lanes)
        super().__init__(problem, threads, tile, slice_, slice_ * tile.columns + tile.lanes)


LARGE, NARROW, FEW = 1 << 19, 256, 16
"""Where packing pays, measured on one thread of a Zen 5 as the time of the blocked kernel over that of this one.

B of at most ``NARROW`` columns is a few panels, for which A is not worth packing: 3136 x 128 x 128 1.10, 64 x 64 x 16384 1.72,
1000 x 100 x 1000 1.25.  With ``FEW`` rows no panel is read again: 8 x 1000 x 2048 1.53.  Otherwise a slice of A of more than
``LARGE`` elements is read from far for every panel (700 cubed 1.05, 1024 cubed 0.89), and several slices of a wide B come in
pieces too small to be fetched ahead (512 x 512 x 2048 0.99, 64 x 576 x 25088 0.84).
"""


def declines(problem):
    """Why another kernel should compute ``problem``."""
    M, N, K = problem.M, problem.N, problem.K
    if N <= NARROW or M <= FEW:
        return ()
    if K > SHORT:
        return (f"with K above {SHORT} a wide B is read in pieces",)
    if M * K > LARGE:
        return (f"A has more than {LARGE} elements, and would be read for many panels of B",)
    return ()
