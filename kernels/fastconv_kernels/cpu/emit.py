"""Emitters: Python functions that write LLVM instructions.  Words are made of them; kernels never see them.

Sources: LLVM Language Reference, "Masked Vector Load and Store Intrinsics", "llvm.fma.*", "llvm.prefetch".
"""

from llvmlite import ir
from numba.core import cgutils

BIT, BYTE, INT32, INT64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)


def call(builder, name, result, *operands):
    """Call the LLVM intrinsic ``name``."""
    signature = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), operands)


def opaque(builder, value):
    """``value``, which LLVM does not know to be that: it cannot take apart what ``value`` was computed from.

    Of the sum of an address and two offsets it otherwise adds what stays the same before a loop, an address for each offset,
    which then have to share a processor's few registers for them.
    """
    signature = ir.FunctionType(value.type, [value.type])
    return builder.call(ir.InlineAsm(signature, "", "=r,0"), [value])


def suffix(vector):
    """LLVM's mangled name of a vector type: ``v16f32``."""
    if isinstance(vector.element, ir.IntType):
        return f"v{vector.count}i{vector.element.width}"
    return f"v{vector.count}{'f64' if isinstance(vector.element, ir.DoubleType) else 'f32'}"


def alignment(vector):
    """Bytes of one element: vectors may start at any element, which on current machines costs only at a cache line's end."""
    if isinstance(vector.element, ir.IntType):
        return vector.element.width // 8
    return 8 if isinstance(vector.element, ir.DoubleType) else 4


def integer(builder, value):
    """``value``, of any width, as the 64-bit number that addresses are computed with."""
    return value if value.type == INT64 else builder.sext(value, INT64)


def splat(builder, scalar, lanes):
    """All lanes equal to ``scalar``."""
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    lane_zero = ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes)
    return builder.shuffle_vector(builder.insert_element(undefined, scalar, INT32(0)), undefined, lane_zero)


def constant(vector, value):
    """All lanes equal to the number ``value``."""
    return ir.Constant(vector, [vector.element(value)] * vector.count)


def first_lanes(builder, count, lanes):
    """The mask of the lanes below ``count``; none if it is negative, all if it is ``lanes`` or more.

    Where a mask is a number, in registers of its own, it is made as one: a vector of the lanes' numbers to compare with would
    be kept in a register that sums could have.
    """
    if lanes == 16:
        count = builder.select(builder.icmp_signed("<", count, INT64(lanes)), count, INT64(lanes))
        count = builder.select(builder.icmp_signed(">", count, INT64(0)), count, INT64(0))
        ones = builder.sub(builder.shl(INT64(1), count), INT64(1))
        return builder.bitcast(builder.trunc(ones, ir.IntType(lanes)), ir.VectorType(BIT, lanes))
    numbers = ir.Constant(ir.VectorType(INT32, lanes), list(range(lanes)))
    enough = builder.icmp_signed(">", count, INT64(lanes))  # so that the 32 bits that are compared are all of it
    count = builder.trunc(builder.select(enough, INT64(lanes), count), INT32)
    return builder.icmp_signed("<", numbers, splat(builder, count, lanes))


def fused_multiply_add(builder, a, b, c):
    return call(builder, f"llvm.fma.{suffix(a.type)}", a.type, a, b, c)


def load_vector(builder, vector, pointer):
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=alignment(vector))


def load_masked(builder, vector, pointer, mask, otherwise=None):
    """Lanes outside the mask are zero, or those of ``otherwise``, and their memory is not touched."""
    address = builder.bitcast(pointer, vector.as_pointer())
    name = f"llvm.masked.load.{suffix(vector)}.p0"
    return call(builder, name, vector, address, INT32(alignment(vector)), mask, otherwise or ir.Constant(vector, None))


def store_vector(builder, value, pointer):
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=alignment(value.type))


def stream_vector(builder, value, pointer):
    """To memory, past the caches; the address is a multiple of the vector's size."""
    size = alignment(value.type) * value.type.count
    stored = builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=size)
    stored.set_metadata("nontemporal", builder.module.add_metadata([INT32(1)]))


def store_masked(builder, value, pointer, mask):
    """Memory of the lanes outside the mask is not touched."""
    address = builder.bitcast(pointer, value.type.as_pointer())
    name = f"llvm.masked.store.{suffix(value.type)}.p0"
    call(builder, name, ir.VoidType(), value, address, INT32(alignment(value.type)), mask)


def prefetch_line(builder, pointer, write=False, level=1):
    """Ask for the cache line of ``pointer`` in the cache of this level; an address that is not mapped is ignored."""
    address = builder.bitcast(pointer, BYTE.as_pointer())
    keep, data = INT32(4 - level), INT32(1)
    call(builder, "llvm.prefetch.p0", ir.VoidType(), address, INT32(int(write)), keep, data)
