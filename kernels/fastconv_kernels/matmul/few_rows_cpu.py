"""Few rows of A and a B that is there as its transpose: B's columns are rows in memory, and A's rows are few columns.

    C[:, j:j+8] = transpose of (8 rows of B's transpose times A's transpose)

To transpose B in registers takes longer than so few products.  Here a vector holds several steps of K of a few rows of A
(``cpu/steps.py``), and what is turned is a tile of C, once.
"""

from ..cpu.compile import jit
from ..cpu.pack import square, transpose
from ..cpu.places import columns, rows_apart
from ..cpu.steps import GROUP, accumulate_steps, join_steps, pack_steps
from ..cpu.tile import Tile, add_tile, spread_columns, zero
from .operands import at, leave

MOST_VECTORS, HEIGHTS = 3, (8, 4)
"""Vectors of the rows of A, ``GROUP`` in each; columns of B at once."""


def tile_of_few_rows(problem):
    """The tile whose columns are the rows of A; None where there is but one, or too many for it."""
    vectors = -(-problem.M // GROUP)
    if problem.M < 2 or vectors > MOST_VECTORS:
        return None
    tiles = [Tile(height, vectors, problem.dtype) for height in HEIGHTS]
    return next((tile for tile in tiles if tile.fits() and max(tile.rows, GROUP * vectors) <= tile.lanes), None)


@jit
def meet_few_rows(tile, slice_, shape, left, right, a, b, c, epilogue, room):
    """The columns ``left`` … ``right`` of C = epilogue(A @ B), for one thread."""
    M, _, K = shape
    own = square(tile)
    for k in range(0, max(1, K), slice_):
        depth = min(slice_, K - k)
        ends = k == 0, k + depth == K
        pack_steps(tile, at(a, 0, k), a.column, a.row, M, depth, room)
        for j in range(left, right, tile.rows):
            count = min(tile.rows, right - j)
            sums = accumulate_steps(tile, zero(tile), rows_apart(tile, at(b, k, j), b.column, count), room, depth)
            bias = columns(own, epilogue.bias + j, count if ends[0] else 0)
            total = add_tile(transpose(join_steps(sums)), spread_columns(own, bias))
            leave(own, total, ends, 0, j, M, count, c, epilogue)
