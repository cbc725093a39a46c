"""The engine of Hopper's warpgroups: four warps multiply 64 x 128 at a time, from boxes that ordinary copies have filled.

    block         128 x 128 of C, K in slices of 32                  two blocks on a multiprocessor
      warpgroup   64 x 128 of it                                     sums in registers: 64 for each thread
        wgmma     64 x 128, K in steps of 8                          one instruction of the whole warpgroup

A panel ALONG K with its swizzle, as ``tensor_core`` has it, is a box as ``warpgroup`` describes it: operands that have to be
gathered, such as the windows of a convolution, come as they do for every engine.  Each thread shows its copies to the units
that multiply before the block meets (``pipeline``).  Products are waited for at the end of a slice, since its stage is filled
again after the next barrier; meanwhile the other block has the tensor cores.

They read TF32 from float32 without rounding: what is cut is less than 2**-10 of a number.

Source: NVIDIA, PTX ISA 9.0, "Asynchronous Warpgroup Level Matrix Instructions".
"""

from functools import cache

from .build import device
from .engine import Engine, Tile
from .epilogue import same_row, writer
from .memory import at, shared_at
from .panel import ALONG, Panel
from .unrolling import unroll
from .warpgroup import GROUP, PRODUCTS, begin_products, close_products, wait_products

DEPTH = 32
TILES = (Tile(128, 128, 16, 128, stages=3, blocks=2),)


@cache
def engine(tile, a_order, b_order, store, rows=same_row):
    """The engine; both operands must lie along K."""
    if (a_order, b_order) != (ALONG, ALONG):
        raise ValueError(f"expected operands along K, got A {a_order} and B {b_order}")
    a_panel, b_panel = (Panel(ALONG, length, DEPTH, pitch=DEPTH, mask=7, shift=2) for length in (tile.rows, tile.columns))
    product, b_start, half = PRODUCTS["tf32", tile.columns], a_panel.size, 64 * DEPTH
    across, write = tile.columns // 8, writer(2, min(store, 2), rows)

    @device
    def multiply(sums, fragments, shared, slot, thread):
        """sums += this warpgroup's rows of the stage's A @ its B."""
        group = thread // GROUP
        begin_products()
        for k in unroll(0, DEPTH, 8):
            product(at(sums, 0), shared_at(shared, slot + group * half + k), shared_at(shared, slot + b_start + k))
        close_products()
        wait_products(0)

    @device
    def finish(c, sums, bias, addend, quotient, thread, row0, column0, g, epilogue):
        """A thread holds two neighbours in row GROUP of its warp's 16 and two in row GROUP + 8, of every 8 columns."""
        row, column = row0 + thread // 32 * 16 + thread % 32 // 4, column0 + thread % 4 * 2
        for j in unroll(across):
            for i in unroll(2):
                write(c, at(sums, 4 * j + 2 * i), bias, addend, quotient, row + 8 * i, column + 8 * j, g, epilogue)

    return Engine(tile, a_panel, b_panel, 4 * across, 1, "uint32", multiply, finish, boxes=True)
