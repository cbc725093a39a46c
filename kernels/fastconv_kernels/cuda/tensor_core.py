"""The engine of the tensor cores: sums of float32 of products of TF32, BF16 or FP16, or of TF32 so split that nothing is lost.

    block    rows x columns of C, K in slices of 32
      warp   64 x 64 of it at most                   the sums in registers: 4 for each product of 16 x 8
        mma  16 x 8, K in steps of 8, or of 16       one instruction of the whole warp

A panel that lies ALONG K is read by ldmatrix, four fragments of 8 x 4 at once; one that lies ACROSS, element by element:
either order in memory is right for either operand, and nothing is turned.  The swizzle, ALONG: the eight rows of one
fragment, 128 bytes apart, have their 16 bytes in eight different places of the line.  ACROSS: a fragment is 8 columns of 4
lines, and those of line k begin 8 k words further.

``split``: A = A1 + A2 and B = B1 + B2, the first the TF32 nearest to it, the second what is left (*3xTF32*).  Then
A B ≈ A1 B1 + (A1 B2 + A2 B1): three products for float32's accuracy.  The small ones have sums of their own, which keeps the
sum of the large ones from rounding them away, and lets infinities stay: where A1 B1 is not finite, it is the result, since A2
of an infinity is no number.

``tf32`` is that without the rest.  ``bf16``, ``fp16``: panels are float32, as operands are in memory, and two fragments become
one of twice the depth when they are packed.  Which k each half stands for does not matter: A and B are packed alike.

Sources: Markidis et al., "NVIDIA Tensor Core Programmability, Performance & Precision", 2018; Ootomo & Yokota, "Recovering
single precision accuracy from Tensor Cores while surpassing the FP32 theoretical peak performance", 2022; CUTLASS.
"""

from functools import cache

import numpy as np

from .build import device
from .engine import Engine, Tile
from .epilogue import same_row, writer
from .matrices import (
    load_matrices,
    multiply_bf16,
    multiply_f16,
    multiply_tf32,
    pack_bf16,
    pack_f16,
    round_to_tf32,
    split_into_tf32,
)
from .memory import at, load_register
from .panel import ACROSS, ALONG, Panel, addresses
from .unrolling import unroll

DEPTH = 32
TILES = (
    Tile(128, 128, 64, 64, stages=3, blocks=2),
    Tile(64, 64, 32, 32, stages=3, blocks=4),
    Tile(32, 32, 32, 32, stages=4, blocks=8),
)
SPLIT_TILES = (
    Tile(128, 128, 64, 32, stages=4, blocks=1),
    Tile(64, 64, 32, 32, stages=3, blocks=2),
    Tile(32, 32, 32, 32, stages=4, blocks=8),
)
HALVES = {"bf16": (multiply_bf16, pack_bf16), "fp16": (multiply_f16, pack_f16)}
LARGEST = np.finfo(np.float32).max
"""The largest finite float32."""


def panel(order, length):
    """Of A or B."""
    if order == ALONG:
        return Panel(ALONG, length, DEPTH, pitch=DEPTH, mask=7, shift=2)
    return Panel(ACROSS, length, DEPTH, pitch=length, mask=3, shift=3)


@cache
def load_a(panel):
    """The function that loads A's fragments of one step of 8 along K: 16 rows from ``down`` on in 4 registers."""
    address = addresses(panel)

    @device
    def load(fragments, shared, slot, row0, lane, down, k):
        if panel.order == "along":  # lanes 0-15 name the 16 rows at the first four of k, 16-31 at its last four
            load_matrices(fragments, address(shared, slot, row0 + lane % 16, lane // 16 * 4, down, k))
        else:
            for i in unroll(4):
                here = address(shared, slot, row0 + lane // 4, lane % 4, down + i % 2 * 8, k + i // 2 * 4)
                load_register(at(fragments, i), here)

    return load


@cache
def load_b(panel, warp_columns):
    """The function that loads B's fragments of one step of 8 along K: 8 columns in 2 registers, the 8 beside in 2 more."""
    address = addresses(panel)

    @device
    def load(fragments, shared, slot, column0, lane, k):
        for j in unroll(0, warp_columns // 8, 2):
            if panel.order == "along":  # of each 8 lanes the columns of 8, at the first or the last four of k
                here = address(shared, slot, column0 + lane // 16 * 8 + lane % 8, lane // 8 % 2 * 4, 8 * j, k)
                load_matrices(at(fragments, 2 * j), here)
            else:
                for i in unroll(4):
                    here = address(shared, slot, column0 + lane // 4, lane % 4, 8 * j + i // 2 * 8, k + i % 2 * 4)
                    load_register(at(fragments, 2 * j + i), here)

    return load


@cache
def engine(tile, a_order, b_order, store, rows=same_row, arithmetic="tf32"):
    """The engine for a tile and for panels that lie as the operands do in memory; ``arithmetic`` as above."""
    a_panel, b_panel = panel(a_order, tile.rows), panel(b_order, tile.columns)
    load_rows, load_columns = load_a(a_panel), load_b(b_panel, tile.warp_columns)
    b_start = a_panel.size
    down, across = tile.warp_rows // 16, tile.warp_columns // 8
    b_count, sums_count = 2 * across, 4 * down * across
    write = writer(2, min(store, 2), rows)
    multiply_halves, pack = HALVES.get(arithmetic, HALVES["bf16"])

    @device
    def multiply(sums, fragments, shared, slot, thread):
        """sums += this warp's rows of the stage's A @ its columns of B."""
        warp, lane = thread // 32, thread % 32
        row, column = warp // tile.warps_across * tile.warp_rows, warp % tile.warps_across * tile.warp_columns
        a, b = at(fragments, 0), at(fragments, 4)
        for k in unroll(0, DEPTH, 8):
            load_columns(b, shared, slot + b_start, column, lane, k)
            for j in unroll(b_count):
                round_to_tf32(at(b, j))
            for i in unroll(down):
                load_rows(a, shared, slot, row, lane, 16 * i, k)
                for j in unroll(4):
                    round_to_tf32(at(a, j))
                for j in unroll(across):
                    multiply_tf32(at(sums, 4 * (across * i + j)), a, at(b, 2 * j))

    @device
    def multiply_split(sums, fragments, shared, slot, thread):
        """The same, in three products: ``fragments`` are A1, A2, B1, B2; the small products' sums follow the others."""
        warp, lane = thread // 32, thread % 32
        row, column = warp // tile.warps_across * tile.warp_rows, warp % tile.warps_across * tile.warp_columns
        a, a_rest, b, b_rest = at(fragments, 0), at(fragments, 4), at(fragments, 8), at(fragments, 8 + b_count)
        for k in unroll(0, DEPTH, 8):
            load_columns(b, shared, slot + b_start, column, lane, k)
            for j in unroll(b_count):
                split_into_tf32(at(b, j), at(b_rest, j), at(b, j))
            for i in unroll(down):
                load_rows(a, shared, slot, row, lane, 16 * i, k)
                for j in unroll(4):
                    split_into_tf32(at(a, j), at(a_rest, j), at(a, j))
                for j in unroll(across):
                    small = at(sums, sums_count + 4 * (across * i + j))
                    multiply_tf32(small, a, at(b_rest, 2 * j))
                    multiply_tf32(small, a_rest, at(b, 2 * j))
                    multiply_tf32(at(sums, 4 * (across * i + j)), a, at(b, 2 * j))

    @device
    def multiply_packed(sums, fragments, shared, slot, thread):
        """The same of two-byte numbers, 16 of K at a time: ``fragments`` are those of 8, then A and B packed."""
        warp, lane = thread // 32, thread % 32
        row, column = warp // tile.warps_across * tile.warp_rows, warp % tile.warps_across * tile.warp_columns
        a, b, packed_a, packed_b = at(fragments, 0), at(fragments, 4), at(fragments, 4 + b_count), at(fragments, 8 + b_count)
        for k in unroll(0, DEPTH, 16):
            for half in unroll(2):
                load_columns(b, shared, slot + b_start, column, lane, k + 8 * half)
                for j in unroll(across):
                    pack(at(packed_b, 2 * j + half), at(b, 2 * j), at(b, 2 * j + 1))
            for i in unroll(down):
                for half in unroll(2):
                    load_rows(a, shared, slot, row, lane, 16 * i, k + 8 * half)
                    pack(at(packed_a, 2 * half), at(a, 0), at(a, 2))
                    pack(at(packed_a, 2 * half + 1), at(a, 1), at(a, 3))
                for j in unroll(across):
                    multiply_halves(at(sums, 4 * (across * i + j)), packed_a, at(packed_b, 2 * j))

    @device
    def finish(c, sums, bias, addend, quotient, thread, row0, column0, g, epilogue):
        """Of each product of 16 x 8 a lane holds two neighbours in row GROUP and two in row GROUP + 8."""
        warp, lane = thread // 32, thread % 32
        row = row0 + warp // tile.warps_across * tile.warp_rows + lane // 4
        column = column0 + warp % tile.warps_across * tile.warp_columns + lane % 4 * 2
        for i in unroll(2 * down):
            for j in unroll(across):
                place = 4 * (i // 2 * across + j) + i % 2 * 2
                if arithmetic == "split":
                    for p in unroll(2):
                        if abs(sums[place + p]) <= LARGEST:
                            sums[place + p] += sums[sums_count + place + p]
                write(c, at(sums, place), bias, addend, quotient, row + 8 * i, column + 8 * j, g, epilogue)

    multiplies = {"tf32": multiply, "split": multiply_split}
    return Engine(
        tile,
        a_panel,
        b_panel,
        sums=2 * sums_count if arithmetic == "split" else sums_count,
        fragments=4 + b_count if arithmetic == "tf32" else 2 * (4 + b_count),
        fragment_type="uint32",
        multiply=multiplies.get(arithmetic, multiply_packed),
        finish=finish,
    )
