"""The last columns of a product, which would fill little of a vector: in each vector several steps of K (``cpu/steps.py``)."""

from ..cpu.compile import jit
from ..cpu.pack import turn_rows
from ..cpu.places import columns, rows_apart
from ..cpu.steps import GROUP, accumulate_steps, accumulate_steps_ahead, join_steps, joined, pack_steps
from ..cpu.tile import Tile, add_tile, spread_columns, zero
from .operands import at, leave

ROWS_OF_FEW = 8
"""Of the tile for the last columns: with twelve or sixteen it was not faster."""

OF_STEP, OF_ROW, OF_LOOP = 4, 8, 256
"""What the tile of few columns costs beyond its multiply-adds, in those of a vector: for each step of K, each row, and once.

On one thread of a Zen 5 256 x 4 x 256 took a third of the time that masks took, 1000 x 10 x 1000 0.56, 128 x 8 x 64 0.61,
64 x 10 x 128 0.73, 512 x 100 x 512 0.83, 100 x 100 x 100 0.90; but 16 x 12 x 32 1.12, and 64 x 24 x 256, whose one whole
vector is too narrow a tile, 1.01.
"""


def tile_of_last_columns(problem):
    """The tile for the columns after the last whole vector; None where masks take less time."""
    tile, M, N, K = Tile(ROWS_OF_FEW, 1, problem.dtype), problem.M, problem.N, problem.K
    vectors, steps = -(-(N % tile.lanes) // GROUP), tile.lanes // GROUP
    beside = N // tile.lanes  # whole vectors
    if vectors == 0 or vectors >= (steps if beside == 0 else steps // 2 + 1) or beside == 1:
        return None
    spared, spent = M * K * (steps - vectors) // steps, OF_STEP * K + OF_ROW * M + (OF_LOOP if beside else 0)
    return Tile(ROWS_OF_FEW, vectors, problem.dtype) if spared > spent else None


@jit
def meet_last_columns(few, blocks, ends, k, bounds, a, b, c, epilogue, room):
    """The last columns of B, that would fill little of a vector, with all of A."""
    (slice_, depth, far), (top, bottom, left, right) = blocks, bounds
    count, asks = right - left, far > 0 and a.column == 1 and a.row == depth
    side_by_side = joined(few)
    bias = columns(side_by_side, epilogue.bias + left, count if ends[0] else 0)
    pack_steps(few, at(b, k, left), b.row, b.column, count, depth, room)
    turned = room + slice_ * GROUP * few.vectors
    for i in range(top, bottom, few.rows):
        rows, row, step = bottom - i, at(a, i, k), a.row
        if a.column != 1:  # as many rows at a time as a vector has lanes
            ahead = (i - top) % few.lanes
            if ahead == 0:
                turn_rows(few, row, a.column, min(few.lanes, rows), depth, slice_, turned)
            row, step = turned + ahead * slice_, slice_
        down, sums = rows_apart(few, row, step, rows), zero(few)
        if asks:
            sums = accumulate_steps_ahead(few, sums, down, room, depth, row + far)
        else:
            sums = accumulate_steps(few, sums, down, room, depth)
        total = join_steps(sums)
        leave(side_by_side, add_tile(total, spread_columns(side_by_side, bias)), ends, i, left, rows, count, c, epilogue)
