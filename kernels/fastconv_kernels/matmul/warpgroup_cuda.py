"""Matrix product on Hopper's tensor cores: boxes that arrive by themselves, warpgroups that multiply them, blocks that stay.

    grid            a block for each multiprocessor, which takes tiles of C one after the other (*persistent*)
      block         128 x 256 of C, K in slices of 128 bytes: 32 of TF32, 64 of BF16 or FP16; 4 stages in shared memory
        producer    warpgroup 0: one thread starts the copies of a box of A and one of B for each slice, a ring of stages ahead
        consumers   warpgroups 1 and 2: 64 x 256 each, four products of 32 bytes of K for each slice, sums in registers

Two barriers for each stage say who waits for what:

    full      ends its phase when the bytes of both boxes are there.  Consumers wait for it, then multiply.
    empty     ends it when both consumers have finished with the boxes.  The producer waits for it, then copies anew.

Consumers let a slice's products run while they wait for the next slice, and give a stage back one slice later.  The producer
runs ahead into the next tile while they write this one.  It needs few registers and gives the others to them.

Operands are first brought into rows along K and rounded (``cuda.k_major``): one pass over each.  Rounding and sums are those
of ``tensor_core_cuda``, and so is the bound on the error.

Sources: NVIDIA, CUTLASS, "Efficient GEMM in CUDA", "warp-specialized persistent"; Bikshandi & Shah, "A Case Study in CUDA
Kernel Fusion: Implementing FlashAttention-2 on Hopper using CUTLASS", 2023.
"""

from functools import cache, partial
from typing import NamedTuple

from numba import cuda, float32, int32, types, uint32, uint64

from ..cuda.arrays import view
from ..cuda.asm import SIMULATED
from ..cuda.barriers import arrive, arrive_expecting, set_up, show_barriers, wait_for
from ..cuda.build import device, kernel, numbers
from ..cuda.engine import Tile
from ..cuda.epilogue import Epilogue, writer
from ..cuda.k_major import ITEMSIZES, Packed
from ..cuda.launch import is_hopper, start
from ..cuda.memory import at, meet_block, shared_at, words_before
from ..cuda.operands import MULTIPROCESSORS, blocks, store_width
from ..cuda.pipeline import blocks_of
from ..cuda.unrolling import unroll
from ..cuda.warpgroup import (
    GROUP,
    PRODUCTS,
    ROW,
    begin_products,
    close_products,
    copy_box,
    give_registers,
    take_registers,
    wait_products,
)

FLOATS, MAPS = types.CPointer(float32), types.CPointer(uint64)
TILE = Tile(128, 256, 64, 256, stages=4, blocks=1)
THREADS = 3 * GROUP
WORDS = ROW // 4
A_BOX, STAGE = TILE.rows * WORDS, (TILE.rows + TILE.columns) * WORDS
RING, HALF = TILE.stages * STAGE, 64 * WORDS
ALIGNMENT = 1024
SHARED_BYTES = 4 * RING + 16 * TILE.stages + ALIGNMENT


class Tiles(NamedTuple):
    """The geometry: C (M, N), how many tiles it has, and K."""

    M: int
    N: int
    K: int
    tiles: int


find_corner = blocks_of(TILE)


@cache
def persistent(precision, store):
    """The kernel (c, a_map, b_map, bias, addend)."""
    multiply, depth = PRODUCTS[precision, TILE.columns], ROW // ITEMSIZES[precision]
    write = writer(2, min(store, 2))

    @device
    def full(shared, barriers, slot):
        return shared_at(shared, barriers + 4 * slot)

    @device
    def empty(shared, barriers, slot):
        return shared_at(shared, barriers + 4 * slot + 2)

    @device
    def finish(c, sums, bias, addend, quotient, thread, row0, column0, g, epilogue):
        row = row0 + thread // 32 * 16 + thread % 32 // 4
        column = column0 + thread % 4 * 2
        for j in unroll(32):
            for i in unroll(2):
                write(c, at(sums, 4 * j + 2 * i), bias, addend, quotient, row + 8 * i, column + 8 * j, g, epilogue)

    signature = types.void(FLOATS, MAPS, MAPS, FLOATS, FLOATS, numbers(Tiles), numbers(Epilogue))

    @kernel(signature, threads=THREADS, shared_bytes=SHARED_BYTES, blocks=1)
    def run(c, a_map, b_map, bias, addend, g, epilogue):
        shared = cuda.shared.array(0, uint32)
        sums, quotient = cuda.local.array(128, float32), cuda.local.array(1, int32)
        thread = cuda.threadIdx.x
        first = words_before(shared, ALIGNMENT)
        barriers, slot, parity = first + RING, 0, 0
        if thread == 0:
            for stage in range(TILE.stages):
                set_up(full(shared, barriers, stage), 1)  # the producer, who announces the bytes
                set_up(empty(shared, barriers, stage), 2)  # one thread of each consumer
            show_barriers()
        meet_block()  # nobody touches a barrier before it is set up

        if thread < GROUP:
            give_registers(40)
            if thread == 0:
                for tile in range(cuda.blockIdx.x, g.tiles, cuda.gridDim.x):
                    row, column = find_corner(at(quotient, 0), tile, g.M, g.N)
                    for k in range(0, g.K, depth):
                        wait_for(empty(shared, barriers, slot), 1 - parity)  # in the first round there is nothing to wait for
                        arrive_expecting(full(shared, barriers, slot), 4 * STAGE)
                        box = first + slot * STAGE
                        copy_box(shared_at(shared, box), at(a_map, 0), k, row, full(shared, barriers, slot))
                        copy_box(shared_at(shared, box + A_BOX), at(b_map, 0), k, column, full(shared, barriers, slot))
                        slot += 1
                        if slot == TILE.stages:
                            slot, parity = 0, 1 - parity
        else:
            take_registers(232)
            group = thread // GROUP - 1
            for tile in range(cuda.blockIdx.x, g.tiles, cuda.gridDim.x):
                row, column = find_corner(at(quotient, 0), tile, g.M, g.N)
                for i in unroll(128):
                    sums[i] = 0
                before = -1
                for _ in range(0, g.K, depth):
                    wait_for(full(shared, barriers, slot), parity)
                    begin_products()
                    box = first + slot * STAGE
                    for step in unroll(0, WORDS, 8):
                        a, b = shared_at(shared, box + group * HALF + step), shared_at(shared, box + A_BOX + step)
                        multiply(at(sums, 0), a, b)
                    close_products()
                    wait_products(1)  # those of the slice before have been done: its boxes may be overwritten
                    if before >= 0 and thread % GROUP == 0:
                        arrive(empty(shared, barriers, before))
                    before = slot
                    slot += 1
                    if slot == TILE.stages:
                        slot, parity = 0, 1 - parity
                wait_products(0)
                if before >= 0 and thread % GROUP == 0:
                    arrive(empty(shared, barriers, before))
                finish(c, sums, bias, addend, at(quotient, 0), thread % GROUP, row + 64 * group, column, g, epilogue)

    return run


def refuses(problem):
    """Why it cannot compute ``problem`` here."""
    reasons = []
    if problem.dtype != "float32":
        reasons.append("it computes in float32")
    if problem.stack:
        reasons.append("it multiplies a single pair of matrices")
    if not (SIMULATED or is_hopper()):
        reasons.append("the device is not of the generation Hopper, sm_90")
    return tuple(reasons)


def declines(problem):
    """Why it should not: half of the multiprocessors would have nothing to do."""
    few = blocks(TILE, problem.M, problem.N) < MULTIPROCESSORS // 2
    return ("there are fewer tiles than multiprocessors",) if few else ()


class Matmul:
    """A plan: ``plan(a, b, out, bias=None, residual=None, activation=None)``, as ``matmul`` documents it."""

    def __init__(self, problem, threads=1, *, precision):
        self.problem, self.threads, self.precision = problem, threads, precision
        self.a = Packed(problem.M, problem.K, TILE.rows, precision)
        self.b = Packed(problem.N, problem.K, TILE.columns, precision)
        self.workspace_bytes = self.a.nbytes + self.b.nbytes

    def __call__(self, a, b, out, bias=None, residual=None, activation=None):
        """Write relu?(a @ b + bias? + residual?) into ``out``."""
        problem, result = self.problem, view(out)
        if result.size == 0:
            return
        if problem.K:
            self.a.fill(view(a), 1)
            self.b.fill(view(b), 0)
        maps = (self.a.map, self.b.map) if problem.K else (None, None)
        given = [None if array is None else view(array) for array in (bias, residual)]
        epilogue = Epilogue(int(bias is not None), int(residual is not None), int(activation == "relu"))
        tiles = blocks(TILE, problem.M, problem.N)
        geometry = Tiles(problem.M, problem.N, problem.K, tiles)
        run = persistent(self.precision, store_width(result))
        start(run, min(tiles, MULTIPROCESSORS), (result, *maps, *given), (geometry, epilogue))


Tf32, Bf16, Fp16 = (partial(Matmul, precision=precision) for precision in ("tf32", "bf16", "fp16"))
