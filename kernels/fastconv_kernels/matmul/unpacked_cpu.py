"""Small matrix products without packing: elements of A are broadcast, rows of B loaded, from where they are.

    for j in N by nr
      for i in M by mr
        C[i:i+mr, j:j+nr] = sum over k of A[i:i+mr, k] * B[k, j:j+nr]

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
from ..cpu.tile import fitting, rank1, spread_columns
from .operands import Epilogue, Product, at, begin, buffer, finish, matrices, of_product, part, products_of

TILES = (8, 2), (6, 4), (8, 3), (8, 1), (5, 5), (4, 6), (3, 7), (4, 4), (4, 2), (4, 1)
"""(rows, vectors): few rows, because each has an address of its own."""


@inlined
def accumulate_apart(total, a, a_step, b, b_step, depth):
    """total + A @ B: from one k to the next the rows of A are ``a_step`` further, those of B ``b_step``."""
    for k in range(depth):
        total = rank1(total, a + k * a_step, b + k * b_step)
    return total


@jit
def multiply(tile, shape, bounds, a, b, c, epilogue, panel):
    """The part of C = epilogue(A @ B) within ``bounds`` for one thread; ``panel`` is room for a panel of B."""
    _, _, K = shape
    top, bottom, left, right = bounds
    for j in range(left, right, tile.columns):
        row, step = at(b, 0, j), b.row
        if b.column != 1:
            pack(tile, tile.columns, row, b.column, b.row, min(tile.columns, right - j), K, panel)
            row, step = panel, tile.columns
        across, bias = columns(tile, row, right - j), columns(tile, epilogue.bias + j, right - j)
        for i in range(top, bottom, tile.rows):
            place = block(tile, at(c, i, j), c.row, bottom - i, right - j)
            down = rows_apart(tile, at(a, i, 0), a.row, bottom - i)
            total = accumulate_apart(spread_columns(tile, bias), down, a.column, across, step, K)
            finish(begin(tile, total, epilogue, True, i, j, bottom - i, right - j), epilogue, place)


@jit
def part_of(tile, shape, table, panels, located, epilogue, thread, threads):
    """What thread ``thread`` of ``threads`` does of all products."""
    start, end, cut, cuts = products_of(thread, threads, table[1])
    bounds, panel = part(tile, shape, cut, cuts), buffer(tile, panels, thread)
    for product in range(start, end):
        a, b, c, addend = of_product(tile, located, table, product, shape)
        multiply(tile, shape, bounds, a, b, c, Epilogue(located[4], addend, epilogue[0], epilogue[1]), panel)


@threaded
def forward(machinery, operands, epilogue, threads):
    tile, _, shape, table, (panels,) = machinery
    for thread in prange(threads):
        located = matrices(tile, operands)
        part_of(tile, shape, table, panels, located, epilogue, np.intp(thread), threads)


class UnpackedMatmul(Product):
    """A plan: the tile, and room for one panel of B."""

    run = forward

    def __init__(self, problem, threads=1, tile=None):
        tile = tile or fitting(TILES, max(1, problem.N), problem.dtype, max(1, problem.M))
        super().__init__(problem, threads, tile, (), problem.K * tile.columns + tile.lanes)


SHORT, LARGE, NARROW, FEW = 768, 1 << 19, 256, 16
"""Where packing pays, measured on one thread of a Zen 5 as the time of the blocked kernel over that of this one.

700 x 700 x 700 1.05 and 3136 x 128 x 128 1.10, but 1024 cubed 0.80: with a longer K than ``SHORT`` the nearer caches lose what
is to be read again.  A of more than ``LARGE`` elements would be read from far for every panel of B, unless there are few
(``NARROW``: 1000 x 100 x 1000 1.25, 1024 x 10 x 1024 1.27).  With ``FEW`` rows B is read once (8 x 1000 x 2048 1.53).
"""


def declines(problem):
    """Why another kernel should compute ``problem``."""
    M, N, K = problem.M, problem.N, problem.K
    if M <= FEW or (N <= NARROW // 2 and K <= 2 * SHORT):
        return ()
    if K > SHORT:
        return (f"with K above {SHORT} what is not packed leaves the caches",)
    if M * K > LARGE and N > NARROW:
        return (f"A has more than {LARGE} elements, and would be read for many panels of B",)
    return ()
