"""What no kernel on a GPU can surpass: a copy within its memory, multiply-adds of float32, products of the tensor cores.

    copy        16 bytes a thread and turn, of arrays far beyond level 2
    fp32        sums in registers, each independent of the others: nothing is loaded
    tf32, bf16  fragments in registers, sums of several 16 x 8 at a time; on Hopper boxes in shared memory, which two
                warpgroups multiply, 64 x 256 each, for its older instruction reaches little more than half of that

Operands are zeros: the speed of a tensor core depends on them only by the power that it draws, and zeros draw the least.

NOT YET RUN ON HARDWARE: proven in the simulator and as machine code.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

from numba import cuda, float32, int32, types, uint32

from .arrays import view
from .asm import SIMULATED
from .build import device, kernel
from .copies import show_copies
from .launch import is_hopper, start
from .matrices import multiply_bf16, multiply_tf32
from .memory import at, meet_block, shared_at, words_before
from .operands import MULTIPROCESSORS
from .stream import stream
from .unrolling import unroll
from .warpgroup import GROUP, PRODUCTS, ROW, begin_products, close_products, wait_products

Work = tuple[Callable[[], Any], int]

FLOATS = types.CPointer(float32)
THREADS, BLOCKS = 32 if SIMULATED else 256, 1 if SIMULATED else 4 * MULTIPROCESSORS
STEPS = 2 if SIMULATED else 20_000
"""Of a call: a millisecond or two."""
SUMS = 16
"""Of a thread: enough for the latency of four with four warps on each scheduler."""
FRAGMENTS = 8
"""Sums of 16 x 8 of a warp."""
PRECISIONS = {"tf32": (multiply_tf32, 8), "bf16": (multiply_bf16, 16)}
"""The word, and how deep its products are."""

WARPGROUPS, COLUMNS, ALIGNMENT = 2, 256, 1024
BOX_WORDS = ROW // 4
BOXES = (64 * WARPGROUPS + COLUMNS) * BOX_WORDS


class Nothing(NamedTuple):
    """What a copy has besides its elements."""

    unused: float = 0.0


@device
def itself(values, results, rates):
    results[0] = values[0]


@cache
def multiply_adds():
    """The kernel (out): each thread's sums, in steps."""

    @kernel(types.void(FLOATS, int32), threads=THREADS, blocks=4)
    def run(out, steps):
        sums = cuda.local.array(SUMS, float32)
        thread, half, one = cuda.grid(1), float32(0.5), float32(1)
        for i in unroll(SUMS):
            sums[i] = float32(thread + i)
        for _ in range(steps):
            for _turn in unroll(4):
                for i in unroll(SUMS):
                    sums[i] = sums[i] * half + one
        for i in unroll(1, SUMS):
            sums[0] += sums[i]
        out[thread] = sums[0]

    return run


@cache
def products(precision):
    """The kernel (out): each warp's sums, in steps."""
    multiply, count = PRECISIONS[precision][0], 4 * FRAGMENTS

    @kernel(types.void(FLOATS, int32), threads=THREADS, blocks=4)
    def run(out, steps):
        sums, a, b = cuda.local.array(count, float32), cuda.local.array(4, uint32), cuda.local.array(2, uint32)
        for i in unroll(count):
            sums[i] = 1
        for i in unroll(4):
            a[i] = 0
        for i in unroll(2):
            b[i] = 0
        for _ in range(steps):
            for i in unroll(FRAGMENTS):
                multiply(at(sums, 4 * i), at(a, 0), at(b, 0))
        for i in unroll(1, count):
            sums[0] += sums[i]
        out[cuda.grid(1)] = sums[0]

    return run


@cache
def group_products(precision):
    """The kernel (out) for Hopper: each warpgroup's 64 x 256 sums, a box of 128 bytes along K in a step."""
    multiply, count = PRODUCTS[precision, COLUMNS], COLUMNS // 2

    @kernel(types.void(FLOATS, int32), threads=WARPGROUPS * GROUP, shared_bytes=4 * BOXES + ALIGNMENT)
    def run(out, steps):
        shared, sums = cuda.shared.array(0, uint32), cuda.local.array(count, float32)
        first, thread = words_before(shared, ALIGNMENT), cuda.threadIdx.x
        for i in range(thread, BOXES, WARPGROUPS * GROUP):
            shared[first + i] = 0
        for i in unroll(count):
            sums[i] = 1
        show_copies()
        meet_block()
        a, b = first + thread // GROUP * 64 * BOX_WORDS, first + WARPGROUPS * 64 * BOX_WORDS
        for _ in range(steps):
            begin_products()
            for word in unroll(0, BOX_WORDS, 8):
                multiply(at(sums, 0), shared_at(shared, a + word), shared_at(shared, b + word))
            close_products()
            wait_products(1)
        wait_products(0)
        for i in unroll(1, count):
            sums[0] += sums[i]
        out[cuda.grid(1)] = sums[0]

    return run


def copying(source: Any, target: Any) -> Work:
    """(a call, the bytes that it reads and writes)."""
    return partial(stream, itself, [source], [target], Nothing()), 2 * 4 * view(source).size


def peak(out: Any, precision: str = "fp32") -> Work:
    """(a call, its floating-point operations); ``out`` has ``outputs()`` elements."""
    if precision == "fp32":
        return _started(multiply_adds(), BLOCKS, out, 2 * 4 * SUMS * BLOCKS * THREADS)
    if is_hopper():
        depth = 4 * PRECISIONS[precision][1]
        count = BLOCKS // 4
        return _started(group_products(precision), count, out, 2 * WARPGROUPS * 64 * COLUMNS * depth * count)
    depth = PRECISIONS[precision][1]
    return _started(products(precision), BLOCKS, out, 2 * FRAGMENTS * 16 * 8 * depth * BLOCKS * THREADS // 32)


def _started(run: Any, blocks: int, out: Any, flops_of_a_step: int) -> Work:
    return partial(start, run, blocks, (view(out),), (STEPS,)), flops_of_a_step * STEPS


def outputs() -> int:
    """How many numbers a peak writes at most: one for each thread."""
    return BLOCKS * THREADS
