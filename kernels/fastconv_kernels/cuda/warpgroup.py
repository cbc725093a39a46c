"""Words of Hopper, sm_90a: copies of whole boxes of a matrix (*TMA*), and products that four warps compute together (*wgmma*).

Both know shared memory in the same form, a *box*: rows of 128 bytes one behind the other, the first at a multiple of 1024
bytes, the 16-byte pieces of a row exchanged by the row's number modulo 8 (*128-byte swizzle*): bits 4 to 6 of an address are
combined with bits 7 to 9.  Rows are along what is summed over.

A product is asynchronous: it reads its boxes, and its sums are nobody's, until the group that it was put in is waited for.

Source: NVIDIA, PTX ISA 9.0, "Asynchronous Warpgroup Level Matrix Instructions" and "cp.async.bulk.tensor"; each word names its
section.
"""

import ctypes
import threading

import numpy as np

from . import lanes
from .asm import ADDRESS, INTEGER, LITERAL, updated, word
from .barriers import barrier_at
from .matrices import TF32_BITS, from_bf16, from_f16

GROUP = 128
"""Threads of a warpgroup."""

ROW = 128
"""Bytes of a row of a box."""


def box(place, rows, size):
    """The indices of the first ``size`` bytes of the rows of a box whose first byte is at ``place``, from there on."""
    start = place.ctypes.data
    address = start + np.arange(rows)[:, None] * ROW + np.arange(size)[None, :]
    return (address ^ (address >> 7 & 7) << 4) - start


# ----------------------------------------------------------------------------------------------------------------- copies


@word(
    "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
    "[{place}], [{map}, {{{x}, {y}}}], [{barrier}];",
    place=ADDRESS,
    map=ADDRESS,
    x=INTEGER,
    y=INTEGER,
    barrier=ADDRESS,
)
def copy_box(place, map, x, y, barrier):
    """Start copying a box from column x and row y of the matrix that ``map`` describes, zeros beyond its edges.

    The barrier is told of its bytes when they are there.  One thread does it all.  (*cp.async.bulk.tensor*)
    """
    address, rows, columns, pitch, itemsize, height = (int(number) for number in map[:6])
    assert place.ctypes.data % 1024 == 0
    width = ROW // itemsize
    matrix = np.zeros((height, ROW), np.uint8)
    for row in range(y, min(y + height, rows)):
        size = max(0, min(width, columns - x)) * itemsize
        matrix[row - y, :size] = np.frombuffer(
            (ctypes.c_char * size).from_address(address + row * pitch + x * itemsize), "uint8"
        )
    place.view(np.uint8)[box(place, height, ROW)] = matrix
    barrier_at(barrier).change(announced=-height * ROW)


# --------------------------------------------------------------------------------------------------------------- products


@word("wgmma.fence.sync.aligned;")
def begin_products():
    """Before the first product: what was written to its sums and boxes has been written.  (*wgmma.fence*)"""


@word("wgmma.commit_group.sync.aligned;")
def close_products():
    """Close the group of the products since the last.  (*wgmma.commit_group*)"""
    under_way()[0].append([])


@word("wgmma.wait_group.sync.aligned {pending};", pending=LITERAL)
def wait_products(pending):
    """Wait until at most ``pending`` groups of products are under way; sums are there when none is.  (*wgmma.wait_group*)"""
    groups, sums = under_way()
    while len(groups) - 1 > pending:
        for multiply in groups.pop(0):
            multiply()
    if not any(groups):
        for place, values in sums.values():
            place[:] = values
        sums.clear()


def under_way():
    """(the groups of this thread's products, the last of them open; the sums that they are adding to)."""
    return threading.current_thread().__dict__.setdefault("products", ([[]], {}))


DESCRIBE_A = (
    "and.b32 low, {a}, 0x3FFFF; shr.b32 low, low, 4; cvt.u64.u32 box_a, low; or.b64 box_a, box_a, 0x4000004000010000; "
)
"""A box as wgmma takes it: 14 bits of its address; 16 and 1024 bytes from core matrix to core matrix; the swizzle of 128."""
DESCRIBE_B = DESCRIBE_A.replace("{a}", "{b}").replace("box_a", "box_b")


def product(name, columns, kind, dtype, widened, order=""):
    """The word total (64 x ``columns``) += a (64 rows) @ b (``columns`` rows), transposed, 32 bytes of each row.

    total[4 j + i] of a thread is row 16 WARP + GROUP (+ 8 for i = 2, 3), column 8 j + 2 MEMBER (+ 1 for i = 1, 3).  (*wgmma*)
    """
    text = f"wgmma.mma_async.sync.aligned.m64n{columns}{kind} " + "{total}, box_a, box_b, 1, 1, 1" + order + "; "
    text = "{{ .reg .b32 low; .reg .b64 box_a, box_b; " + DESCRIBE_A + DESCRIBE_B + text + "}}"

    def multiply(total, a, b):
        multiply_later(columns, total, a, b, dtype, widened)

    multiply.__name__ = multiply.__qualname__ = f"multiply_{name}_{columns}"
    return word(text, total=updated(columns // 2), a=ADDRESS, b=ADDRESS)(multiply)


def cut_to_tf32(bits):
    """TF32 as a tensor core reads it of a float32: what it has not is cut."""
    return (bits & TF32_BITS).view(np.float32)


# (precision, columns): the word
PRODUCTS = {
    ("tf32", 128): product("tf32", 128, "k8.f32.tf32.tf32", np.uint32, cut_to_tf32),
    ("tf32", 256): product("tf32", 256, "k8.f32.tf32.tf32", np.uint32, cut_to_tf32),
    ("bf16", 256): product("bf16", 256, "k16.f32.bf16.bf16", np.uint16, from_bf16, ", 0, 0"),
    ("fp16", 256): product("fp16", 256, "k16.f32.f16.f16", np.uint16, from_f16, ", 0, 0"),
}

THREAD = np.arange(GROUP)
FIRST_ROW, FIRST_COLUMN = THREAD // 32 * 16 + THREAD % 32 // 4, THREAD % 4 * 2


def multiply_later(columns, total, a, b, dtype, widened):
    """The twin of the products: done when its group is waited for; until then the sums hold NaN."""
    groups, sums = under_way()
    place = total[: columns // 2]
    key = place.ctypes.data
    if key not in sums:
        sums[key] = place, place.copy()
        place[:] = np.nan

    def product(operands):
        A, B = (widened(place.view(np.uint8)[box(place, rows, 32)].view(dtype)) for place, rows in ((a, 64), (b, columns)))
        with np.errstate(invalid="ignore", over="ignore"):
            C = A @ B.T
        parts = np.stack(operands)
        for i, (row, column) in enumerate([(0, 0), (0, 1), (8, 0), (8, 1)]):
            for j in range(columns // 8):
                parts[:, 4 * j + i] += C[FIRST_ROW + row, FIRST_COLUMN + column + 8 * j]
        return parts

    def multiply():
        values = sums[key][1]
        values[:] = lanes.together("multiply_group", values.copy(), product, GROUP)

    groups[-1].append(multiply)


@word("setmaxnreg.dec.sync.aligned.u32 {count};", count=LITERAL)
def give_registers(count):
    """Of this warpgroup's threads each keeps ``count`` registers, so that others can take more.  (*setmaxnreg*)"""


@word("setmaxnreg.inc.sync.aligned.u32 {count};", count=LITERAL)
def take_registers(count):
    """Each thread of this warpgroup has ``count`` registers, when they are there.  (*setmaxnreg*)"""
