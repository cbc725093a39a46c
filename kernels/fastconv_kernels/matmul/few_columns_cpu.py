"""Few columns of B and an A that is there as its transpose: whose rows are A's columns, side by side in memory.

    C' = B' @ A'          C' is C's transpose; elements of B are broadcast, rows of A' loaded, where they are

To turn A in registers takes up to four times as long as so few products.  What is turned is C, once.  An A' from far is read a
few rows at a time, each a long run, and C' is loaded and stored for every few steps of K.
"""

from ..cpu.accumulate import accumulate
from ..cpu.compile import jit
from ..cpu.pack import square, strip, transpose
from ..cpu.places import block, columns, rows_apart
from ..cpu.tile import add_tile, fitting, load_tile, spread_columns, store_tile, zero
from ..cpu.workspace import caches, even
from .operands import at, leave

TILES = (2, 4), (4, 4), (6, 4), (8, 3), (4, 2), (6, 2)
"""(columns of C, vectors of its rows)."""


MOST = 24
"""Columns of C: 256 x 24 x 784 took 0.81 of the time that it took with A turned, 256 x 32 x 784 1.02."""


def tile_of_few_columns(problem):
    """The tile whose rows are the columns of C; None where there is but one, or where to turn C takes longer than to turn A.

    On a Granite Rapids 256 x 2 x 784 took 0.28 of the time, 1000 x 8 x 64 0.65, 2000 x 12 x 24 0.99 and 2000 x 16 x 24 1.4; in
    float64 2000 x 4 x 8 0.79, 2000 x 8 x 16 0.95, 2000 x 16 x 24 1.6.
    """
    tile = fitting(TILES, max(1, problem.M), problem.dtype, max(1, problem.N))
    pays = 3 * problem.K * tile.lanes >= 8 * problem.N**2
    return tile if 1 < problem.N <= MOST and pays else None


def lines_of(tile, problem):
    """Rows of C's transpose, in whole tiles."""
    return -(-problem.N // tile.rows) * tile.rows


def height_of(tile, problem):
    """Rows of C at a time: their sums stay in an eighth of level 2."""
    return even(problem.M, caches().level2 // 8 // (lines_of(tile, problem) * tile.itemsize), tile.columns)


@jit
def meet_few_columns(tile, slice_, height, shape, bounds, a, b, c, epilogue, room):
    """The part of C = epilogue(A @ B) within ``bounds`` for one thread, so many steps of K and rows at once."""
    top, bottom, left, right = bounds
    for i in range(top, bottom, height):
        end = min(bottom, i + height)
        for k in range(0, max(1, shape[2]), slice_):
            depth = min(slice_, shape[2] - k)
            for upper in range(i, end, tile.columns):
                across = columns(tile, at(a, upper, k), end - upper)
                for j in range(left, right, tile.rows):
                    place = block(tile, room + ((j - left) * height + upper - i), height, tile.rows, tile.columns)
                    total = zero(tile)
                    if k > 0:
                        total = load_tile(tile, place)
                    down = rows_apart(tile, at(b, k, j), b.column, right - j)
                    store_tile(accumulate(total, down, b.row, across, a.column, depth), place)
        turn_back(square(tile), strip(tile), height, (i, end, left, right), c, epilogue, room)


@jit
def turn_back(whole, piece, pitch, bounds, c, epilogue, room):
    """The rows and columns of C within ``bounds`` from their transpose in ``room``, whose rows are ``pitch`` apart."""
    top, bottom, left, right = bounds
    for j in range(left, right, piece.rows):
        bias = columns(whole, epilogue.bias + j, min(piece.rows, right - j))
        for i in range(top, bottom, whole.rows):
            sums = load_tile(piece, block(piece, room + ((j - left) * pitch + i - top), pitch, right - j, piece.columns))
            total = add_tile(transpose(sums), spread_columns(whole, bias))
            leave(whole, total, (True, True), i, j, bottom - i, min(piece.rows, right - j), c, epilogue)
