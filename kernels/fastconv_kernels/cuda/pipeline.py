"""The product of two operands, C = A @ B, around any engine: copies run ahead of the arithmetic.

    for each block of rows x columns of C        all at once, a block of threads each
      start copying all stages but one
      for each slice along K
        wait for its stage; meet                 the one barrier of the loop
        start copying a stage ahead              every thread its share, global to shared memory, past the registers
        multiply the stage                       every warp its part of the sums: the engine
      add bias and addend, rectify, write        epilogue

The barrier makes two things true at once: what all threads have copied into the stage that is read next is there, and all have
finished reading the stage that is filled next.  With three stages or more, copies have a whole slice's arithmetic to arrive.

Where an operand comes from is its ``panel.Source``: a matrix, or the windows of a convolution.  That is all in which a
convolution differs from a matrix product.

Several products are computed at once, and the second axis of the grid counts them: those of a stack of matrices, or of parts
of one long K, whose results another launch adds in their order.

Blocks are counted in an order in which those that run at the same time share rows of A and columns of B in level 2: down the
first ``BAND`` rows of blocks, then down the next column of them.

Sources: NVIDIA, CUTLASS, "Efficient GEMM in CUDA"; Tillet, Kung & Cox, "Triton", 2019, for the order of the blocks.
"""

from functools import cache
from typing import NamedTuple

from numba import cuda, float32, int32, types, uint32

from .build import device, kernel, numbers
from .copies import commit_copies, show_copies, wait_copies
from .engine import BOX_ALIGNMENT
from .epilogue import Epilogue
from .integers import divide
from .memory import at, meet_block, words_before
from .panel import Source
from .unrolling import unroll

BAND = 8
FLOATS = types.CPointer(float32)
FRAGMENT_TYPES = {"float32": float32, "uint32": uint32}


class Product(NamedTuple):
    """The geometry of a stack of products: C (M, N); distances in memory, of the lines of A and B, and of whole matrices."""

    M: int
    N: int
    K: int
    a_pitch: int
    b_pitch: int
    a_step: int
    b_step: int


@cache
def matrix_source(name, order):
    """The operand ``name``, "a" or "b", of a ``Product`` as a matrix in memory."""

    @device
    def begin(state, i, row, g):
        pass

    @device
    def step(state, k, g):
        pass

    @device
    def find(state, i, row, k, g):
        if name == "a":
            pitch, rows = g.a_pitch, g.M
        else:
            pitch, rows = g.b_pitch, g.N
        exists = row < rows and k < g.K
        if order == "along":
            return row * pitch + k, exists
        else:  # noqa: RET505 - only one of the two is compiled
            return k * pitch + row, exists

    return Source(0, 0, begin, step, find)


@cache
def blocks_of(tile):
    """The function (quotient, block, M, N) → the block's first row and column; ``quotient`` is a register."""

    @device
    def corner(quotient, block, M, N):
        divide(quotient, M + (tile.rows - 1), tile.rows)
        down = quotient[0]
        divide(quotient, N + (tile.columns - 1), tile.columns)
        across = quotient[0]
        divide(quotient, block, BAND * across)
        first = quotient[0] * BAND
        within = block - first * across
        height = min(BAND, down - first)
        divide(quotient, within, height)
        return (first + within - quotient[0] * height) * tile.rows, quotient[0] * tile.columns

    return corner


@cache
def product(engine, a_filler, b_filler, geometry):
    """The kernel; ``geometry`` is a named tuple of integers, M, N and K among them.

    With ``a_step`` and ``b_step`` among them it computes a stack; with ``part``, how much of K, a multiple of the slices'
    depth, the parts of a sum.
    """
    stacked, in_parts = "a_step" in geometry._fields, "part" in geometry._fields
    tile, multiply, finish = engine.tile, engine.multiply, engine.finish
    (a_registers, begin_a, copy_a), (b_registers, begin_b, copy_b) = a_filler, b_filler
    fragment_type, b_slot, newer = FRAGMENT_TYPES[engine.fragment_type], engine.a_panel.size, tile.stages - 2
    find_corner = blocks_of(tile)
    signature = types.void(*[FLOATS] * 5, numbers(geometry), numbers(Epilogue))

    @kernel(signature, threads=tile.threads, shared_bytes=engine.shared_bytes, blocks=tile.blocks)
    def run(c, a, b, bias, addend, g, epilogue):
        shared = cuda.shared.array(0, uint32)
        sums = cuda.local.array(engine.sums, float32)
        fragments = cuda.local.array(engine.fragments, fragment_type)
        a_state, b_state = cuda.local.array(a_registers, int32), cuda.local.array(b_registers, int32)
        quotient = cuda.local.array(1, int32)
        thread, base = cuda.threadIdx.x, 0
        if engine.boxes:
            base = words_before(shared, BOX_ALIGNMENT)
        row0, column0 = find_corner(at(quotient, 0), cuda.blockIdx.x, g.M, g.N)
        for i in unroll(engine.sums):
            sums[i] = 0
        first, end = 0, g.K
        if stacked:
            a, b = at(a, cuda.blockIdx.y * g.a_step), at(b, cuda.blockIdx.y * g.b_step)
        if in_parts:
            first = cuda.blockIdx.y * g.part
            end = min(g.K, first + g.part)
        if stacked or in_parts:
            c = at(c, cuda.blockIdx.y * g.M * g.N)
            addend = at(addend, cuda.blockIdx.y * g.M * g.N * epilogue.adds)

        begin_a(at(a_state, 0), thread, row0, g)
        begin_b(at(b_state, 0), thread, column0, g)
        for stage in unroll(tile.stages - 1):
            slot, k0 = base + stage * engine.stage, first + stage * engine.depth
            copy_a(shared, slot, a, at(a_state, 0), thread, row0, k0, g)
            copy_b(shared, slot + b_slot, b, at(b_state, 0), thread, column0, k0, g)
            commit_copies()
        reading, filling = base, base + (tile.stages - 1) * engine.stage
        for k0 in range(first, end, engine.depth):
            # Two things must be true before going on: what all threads have copied into ``reading`` is there, and all have
            # finished with the stage that is filled next.  Each waits for its own copies; the barrier then makes both true.
            wait_copies(newer)
            if engine.boxes:
                show_copies()
            meet_block()
            ahead = k0 + (tile.stages - 1) * engine.depth
            copy_a(shared, filling, a, at(a_state, 0), thread, row0, ahead, g)
            copy_b(shared, filling + b_slot, b, at(b_state, 0), thread, column0, ahead, g)
            commit_copies()  # past the end of K an empty group is closed all the same, so that the count stays right
            multiply(sums, fragments, shared, reading, thread)
            reading = reading + engine.stage if reading + engine.stage < base + engine.ring else base
            filling = filling + engine.stage if filling + engine.stage < base + engine.ring else base

        finish(c, sums, bias, addend, at(quotient, 0), thread, row0, column0, g, epilogue)

    return run
