"""Subnormal numbers, nearer to zero than the smallest normal one (1.2e-38 in float32), count as zero in kernels.

A product with such an operand or result takes x86 processors some 150 cycles instead of half of one: without this a product of
256 x 256 matrices takes 190 times as long if one element in seven is subnormal, and networks make them: what Adam remembers of
a parameter without gradients shrinks until it is.  The processor has two switches for it, which every thread sets as it enters
a kernel and puts back as it leaves.  Activations count such numbers, what is only copied stays as it is, and other processors,
which lose little time by them, count them everywhere.

Sources: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, 10.2.3, "MXCSR Control and Status Register";
TensorFlow and Flush-To-Zero in its threads (tensorflow/core/platform/denormal.h) for the same rule.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils

from .emit import BYTE, INT32

RESULTS_TO_ZERO, OPERANDS_AS_ZERO = 1 << 15, 1 << 6
"""Bits of MXCSR: "flush to zero" and "denormals are zero"."""


def switchable():
    """Whether the processor has the switches."""
    return llvm.get_process_triple().startswith(("x86", "i386", "i686"))


def counted_as_zero(function):
    """Let LLVM's ``function`` begin by setting the switches, and end, wherever it returns, with them as they were."""
    ends = [block.terminator for block in function.blocks if isinstance(block.terminator, ir.Ret)]
    builder = ir.IRBuilder()
    builder.position_at_start(function.entry_basic_block)
    before, during = builder.alloca(INT32), builder.alloca(INT32)
    _move(builder, "st", before)
    switched = builder.or_(builder.load(before), INT32(RESULTS_TO_ZERO | OPERANDS_AS_ZERO))
    builder.store(switched, during)
    _move(builder, "ld", during)
    for end in ends:
        builder.position_before(end)
        _move(builder, "ld", before)


def _move(builder, direction, place):
    """The register to memory (st) or back (ld)."""
    signature = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer()])
    intrinsic = cgutils.get_or_insert_function(builder.module, signature, f"llvm.x86.sse.{direction}mxcsr")
    builder.call(intrinsic, [builder.bitcast(place, BYTE.as_pointer())])
