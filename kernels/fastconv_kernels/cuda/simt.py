"""The engine of plain float32 arithmetic: every sum rounded as the definition rounds it.

    block      rows x columns of C, K in slices of 16      256 threads for 128 x 128
      warp     32 x 64 of it                               8 x 8 sums for each lane, in registers
        lane   2 x 4 of its rows by 2 x 4 columns          lane (y, x) of 4 x 8: rows 16 i + 4 y, columns 32 j + 4 x

For each k a lane loads 8 elements of A and 8 of B, four at a time, for 64 multiply-adds: the arithmetic units, not shared
memory, are the limit.  Both panels therefore lie ACROSS, a line for each k.  Lanes of the same row load the same elements of
A, which costs one access; eight lanes side by side load 128 bytes of B in a row.  Lines are 4 words longer than they need be,
for copies that turn a matrix on the way (``panel.ABREAST``).

Sources: Volkov & Demmel, "Benchmarking GPUs to Tune Dense Linear Algebra", 2008, for sums in registers; Nath, Tomov &
Dongarra, "An Improved MAGMA GEMM for Fermi GPUs", 2010, for the tile.
"""

from functools import cache

import numpy as np

from .asm import SIMULATED
from .build import device
from .engine import Engine, Tile
from .epilogue import same_row, writer
from .memory import at, load_four
from .panel import ACROSS, Panel, addresses
from .unrolling import unroll

DEPTH = 16
WARP_ROWS, WARP_COLUMNS = 32, 64
TILES = (
    Tile(128, 128, WARP_ROWS, WARP_COLUMNS, stages=3, blocks=2),
    Tile(64, 64, WARP_ROWS, WARP_COLUMNS, stages=4, blocks=4),
    Tile(32, 64, WARP_ROWS, WARP_COLUMNS, stages=4, blocks=8),
)


def panel(length):
    """Of A or B."""
    return Panel(ACROSS, length, DEPTH, pitch=length + 4)


if SIMULATED:

    def multiply_lines(sums, a, b):
        """sums (8, 8) += outer(a, b): one k, at once."""
        with np.errstate(invalid="ignore", over="ignore"):
            sums[:64] += np.outer(a[:8], b[:8]).ravel()

else:

    @device
    def multiply_lines(sums, a, b):
        """sums (8, 8) += outer(a, b): one k."""
        for i in unroll(8):
            for j in unroll(8):
                sums[8 * i + j] += a[i] * b[j]


@cache
def engine(tile, _a_order, _b_order, store, rows=same_row):
    """The engine for a tile; panels lie as it wants them, whatever order the operands have in memory."""
    a_panel, b_panel = panel(tile.rows), panel(tile.columns)
    a_address, b_address = addresses(a_panel), addresses(b_panel)
    b_start = a_panel.size
    write = writer(4, store, rows)

    @device
    def multiply(sums, fragments, shared, slot, thread):
        """sums += the stage's A (rows x 16) @ B (16 x columns), this lane's 8 x 8 of it."""
        warp, lane = thread // 32, thread % 32
        row = warp // tile.warps_across * 32 + lane // 8 * 4
        column = warp % tile.warps_across * 64 + lane % 8 * 4
        for k in unroll(DEPTH):
            for i in unroll(2):
                load_four(at(fragments, 4 * i), a_address(shared, slot, row, 0, 16 * i, k))
                load_four(at(fragments, 8 + 4 * i), b_address(shared, slot + b_start, column, 0, 32 * i, k))
            multiply_lines(sums, at(fragments, 0), at(fragments, 8))

    @device
    def finish(c, sums, bias, addend, quotient, thread, row0, column0, g, epilogue):
        warp, lane = thread // 32, thread % 32
        row = row0 + warp // tile.warps_across * 32 + lane // 8 * 4
        column = column0 + warp % tile.warps_across * 64 + lane % 8 * 4
        for i in unroll(8):
            for j in unroll(2):
                here = at(sums, 8 * i + 4 * j)
                write(c, here, bias, addend, quotient, row + i // 4 * 16 + i % 4, column + 32 * j, g, epilogue)

    return Engine(tile, a_panel, b_panel, sums=64, fragments=16, fragment_type="float32", multiply=multiply, finish=finish)
