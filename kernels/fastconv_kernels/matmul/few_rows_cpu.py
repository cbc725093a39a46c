"""Few rows of A and a B that is there as its transpose: B's columns are rows in memory, and A's rows are few columns.

    C[:, j:j+8] = transpose of (8 rows of B's transpose times A's transpose)

To transpose B in registers takes longer than so few products, and reads it in shorter runs.  Here a vector holds several steps
of K of a few rows of A (``cpu/steps.py``), and what is turned is a tile of C, once.
"""

from ..cpu.compile import jit
from ..cpu.pack import square, transpose
from ..cpu.places import columns, rows_apart
from ..cpu.steps import GROUP, accumulate_steps, join_steps, pack_steps
from ..cpu.tile import LOAD_COST, Tile, add_tile, spread_columns, zero
from .operands import at, leave

SHAPES = (8, 1), (8, 2), (8, 3), (4, 1), (4, 2), (4, 3), (4, 4)
"""(columns of B at once, vectors of the rows of A), ``GROUP`` rows in each vector."""

MANY, MOST = 24, 47
"""Rows of A from which on there must be more steps of K, and that are no longer few."""

DEEP = 32
"""Steps of K from which on to turn C takes less time than to turn B.

On a Granite Rapids 2 x 300 x 200 took 0.26 of the time so, 8 x 300 x 200 0.46, 12 x 300 x 200 0.52, 8 x 100 x 32 0.81; but 9 x
300 x 16 1.2.  16 x 1000 x 400 took 0.63, 16 x 1000 x 64 0.9, 16 x 4096 x 256, from far, 0.4; 24 x 1000 x 1000 0.58, 32 x 256 x
784 0.81, 45 x 256 x 784 0.78, 32 x 1000 x 64 1.08.
"""


def tile_of_few_rows(problem):
    """The tile whose columns are the rows of A, some at a time; None where there is but one, or too many for it."""
    least = DEEP if problem.M <= MANY else 3 * DEEP
    if not 1 < problem.M <= MOST or least > problem.K:
        return None
    tiles = [tile for tile in (Tile(*shape, problem.dtype) for shape in SHAPES) if tile.fits()]
    tiles = [tile for tile in tiles if max(tile.rows, GROUP * tile.vectors) <= tile.lanes]

    def cost(tile):
        """Multiply-adds and loads for all columns of B, at a step of K."""
        columns = -(-problem.N // tile.rows) * tile.rows
        return columns * groups_of(tile, problem) * (tile.vectors + LOAD_COST * (1 + tile.vectors / tile.rows))

    return min(tiles, key=cost, default=None)


def groups_of(tile, problem):
    """How often the rows of A fill the tile."""
    return -(-problem.M // (GROUP * tile.vectors))


@jit
def meet_few_rows(tile, slice_, shape, left, right, a, b, c, epilogue, room):
    """The columns ``left`` … ``right`` of C = epilogue(A @ B), for one thread."""
    M, _, K = shape
    own, group = square(tile), GROUP * tile.vectors
    for k in range(0, max(1, K), slice_):
        depth = min(slice_, K - k)
        ends = k == 0, k + depth == K
        for i in range(0, M, group):
            pack_steps(tile, at(a, i, k), a.column, a.row, min(group, M - i), depth, room + i * slice_)
        for j in range(left, right, tile.rows):
            count = min(tile.rows, right - j)
            bias = columns(own, epilogue.bias + j, count if ends[0] else 0)
            for i in range(0, M, group):
                down = rows_apart(tile, at(b, k, j), b.column, count)
                sums = accumulate_steps(tile, zero(tile), down, room + i * slice_, depth)
                total = add_tile(transpose(join_steps(sums)), spread_columns(own, bias))
                leave(own, total, ends, i, j, min(group, M - i), count, c, epilogue)
