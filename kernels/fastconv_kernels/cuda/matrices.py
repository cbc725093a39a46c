"""Words for small matrices spread over a warp: loading them, rounding them, multiplying them on the tensor cores.

A lane is a thread's place in its warp, 0 to 31; ``GROUP`` is lane // 4 and ``MEMBER`` lane % 4, PTX's *groupID* and
*threadID_in_group*.  A twin brings the 32 lanes together, builds the matrices from their registers, and deals out the result.

Source: NVIDIA, PTX ISA 9.0, "Warp Level Matrix Multiply-Accumulate Instructions", for sm_80 and later; each word names its
section.
"""

import numpy as np

from . import lanes
from .asm import ADDRESS, registers, results, updated, word
from .lanes import GROUP, MEMBER
from .memory import is_aligned

TF32_BITS = np.uint32(0xFFFFE000)
"""Sign, exponent and the ten bits of significand that a tensor core reads of a float32 given as TF32."""

# ----------------------------------------------------------------------------------------- shared memory and registers


@word("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {out}, [{row}];", out=results(4), row=ADDRESS)
def load_matrices(out, row):
    """Load four matrices of 8 rows of 16 bytes; lane l gives the address of row l % 8 of matrix l // 8.

    out[m] of a lane is the 4 bytes number MEMBER of row GROUP of matrix m: element (GROUP, MEMBER) if the elements are
    four bytes wide.  (*ldmatrix*)
    """
    assert is_aligned(row, 16)

    def spread(rows):
        matrices = np.stack(rows).view(np.uint32).reshape(4, 8, 4)
        return matrices[:, GROUP, MEMBER].T

    out[:4] = lanes.together("load_matrices", row.view(np.uint8)[:16].copy(), spread)


@word("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {out}, [{row}];", out=results(4), row=ADDRESS)
def load_matrices_transposed(out, row):
    """The same of two-byte elements, each matrix transposed: out[m] is elements (2 MEMBER, GROUP), (2 MEMBER + 1, GROUP)."""
    assert is_aligned(row, 16)

    def spread(rows):
        matrices = np.stack(rows).view(np.uint16).reshape(4, 8, 8).transpose(0, 2, 1)
        return np.ascontiguousarray(matrices).view(np.uint32)[:, GROUP, MEMBER].T

    out[:4] = lanes.together("load_matrices_transposed", row.view(np.uint8)[:16].copy(), spread)


# -------------------------------------------------------------------------------------------------------------- rounding

TOWARDS_TF32 = np.float32(1 + 2954 * 2**-23)
"""A factor that adds 0.72 of half a unit of TF32's last place: what is cut off then leaves at most 1.28 * 2**-11."""


@word("mul.rn.f32 {value}, {value}, 0f3F800B8A;", pure=True, value=updated(1))
def round_to_tf32(value):
    """Prepare a float32 for a tensor core, which cuts the bits that TF32 has not.  (*mul*)

    Within 1.28 * 2**-11 of the value, right on average, and exact if the value is a TF32.  ``cvt.rna.tf32``, within 2**-11,
    takes three instructions; adding half a unit to the bits takes one, but turns the GPU's own NaN, 0x7FFFFFFF, into -0.
    """
    value[:1] = (value[:1].view(np.float32) * TOWARDS_TF32).view(np.uint32)


@word(
    "{{ mul.rn.f32 {high}, {value}, 0f3F800B8A; and.b32 {high}, {high}, 0xFFFFE000; sub.rn.f32 {low}, {value}, {high}; }}",
    pure=True,
    high=results(1),
    low=results(1),
    value=registers(1),
)
def split_into_tf32(high, low, value):
    """high + low = value exactly, high a TF32: what is lost when the tensor core cuts low is at most 1.28 * 2**-21 of value.

    An infinite value gives low = NaN.  (*mul*, *and*, *sub*)
    """
    whole = value[:1].view(np.float32).copy()  # ``high`` may be the same register
    with np.errstate(invalid="ignore", over="ignore"):
        high[:1] = (whole * TOWARDS_TF32).view(np.uint32) & TF32_BITS
        low[:1] = (whole - high[:1].view(np.float32)).view(np.uint32)


@word("cvt.rn.bf16x2.f32 {pair}, {second}, {first};", pure=True, pair=results(1), first=registers(1), second=registers(1))
def pack_bf16(pair, first, second):
    """Two float32, each rounded to the nearest BF16, in one register; ``first`` is its lower half.  (*cvt*)"""
    bits = np.array([first[0], second[0]], np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)  # to even
    halves = np.where(np.isnan(bits.view(np.float32)), np.uint32(0x7FFF), rounded)
    pair[0] = halves[0] | halves[1] << np.uint32(16)


@word("cvt.rn.f16x2.f32 {pair}, {second}, {first};", pure=True, pair=results(1), first=registers(1), second=registers(1))
def pack_f16(pair, first, second):
    """The same of FP16: above 65504 they become infinite.  (*cvt*)"""
    with np.errstate(over="ignore"):
        halves = np.array([first[0], second[0]], np.uint32).view(np.float32).astype(np.float16)
    pair[:1].view(np.float16)[:] = halves


# ---------------------------------------------------------------------------------------------------------------- products


@word(
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {total}, {a}, {b}, {total};",
    pure=True,
    total=updated(4),
    a=registers(4),
    b=registers(2),
)
def multiply_tf32(total, a, b):
    """total (16 x 8) += a (16 x 8) @ b (8 x 8): float32 sums of TF32 products.  (*Matrix Fragments for mma.m16n8k8*)"""

    def product(operands):
        totals, a_parts, b_parts = (np.stack(parts) for parts in zip(*operands, strict=True))
        A, B = np.zeros((16, 8), np.float32), np.zeros((8, 8), np.float32)
        for j, (row, column) in enumerate([(0, 0), (8, 0), (0, 4), (8, 4)]):
            A[GROUP + row, MEMBER + column] = (a_parts[:, j] & TF32_BITS).view(np.float32)
        for j, row in enumerate([0, 4]):
            B[MEMBER + row, GROUP] = (b_parts[:, j] & TF32_BITS).view(np.float32)
        return add_product(totals, A, B)

    total[:4] = lanes.together("multiply_tf32", (total[:4].copy(), a[:4].copy(), b[:2].copy()), product)


@word(
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {total}, {a}, {b}, {total};",
    pure=True,
    total=updated(4),
    a=registers(4),
    b=registers(2),
)
def multiply_bf16(total, a, b):
    """total (16 x 8) += a (16 x 16) @ b (16 x 8): float32 sums of BF16 products; a register holds two neighbours along K.

    (*Matrix Fragments for mma.m16n8k16 with floating point type*)
    """
    total[:4] = lanes.together("multiply_bf16", (total[:4].copy(), a[:4].copy(), b[:2].copy()), halves_product(from_bf16))


@word(
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {total}, {a}, {b}, {total};",
    pure=True,
    total=updated(4),
    a=registers(4),
    b=registers(2),
)
def multiply_f16(total, a, b):
    """The same of FP16: float32 sums of FP16 products.  (*Matrix Fragments for mma.m16n8k16 with floating point type*)"""
    total[:4] = lanes.together("multiply_f16", (total[:4].copy(), a[:4].copy(), b[:2].copy()), halves_product(from_f16))


def from_bf16(bits):
    """BF16 as float32: its upper half."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def from_f16(bits):
    """FP16 as float32."""
    return bits.view(np.float16).astype(np.float32)


def halves_product(widened):
    """What the twins of the two-byte products compute when the lanes have met; ``widened`` reads the elements."""

    def product(operands):
        totals, a_parts, b_parts = (np.stack(parts) for parts in zip(*operands, strict=True))
        a_parts, b_parts = (np.ascontiguousarray(parts).view(np.uint16) for parts in (a_parts, b_parts))  # the lower first
        A, B = np.zeros((16, 16), np.float32), np.zeros((16, 8), np.float32)
        for half in range(2):
            for j, (row, column) in enumerate([(0, 0), (8, 0), (0, 8), (8, 8)]):
                A[GROUP + row, 2 * MEMBER + column + half] = widened(a_parts[:, 2 * j + half].copy())
            for j, row in enumerate([0, 8]):
                B[2 * MEMBER + row + half, GROUP] = widened(b_parts[:, 2 * j + half].copy())
        return add_product(totals, A, B)

    return product


def add_product(totals, A, B):
    """totals + A @ B, where totals[lane] holds rows GROUP and GROUP + 8, columns 2 MEMBER and 2 MEMBER + 1 of 16 x 8."""
    places = [(GROUP + row, 2 * MEMBER + column) for row, column in [(0, 0), (0, 1), (8, 0), (8, 1)]]
    with np.errstate(invalid="ignore", over="ignore"):  # infinity times zero is NaN, as it should be
        C = A @ B
        return np.stack([totals[:, j] + C[place] for j, place in enumerate(places)], axis=1)
