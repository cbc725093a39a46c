"""Words for memory: addresses, loads, stores, and the barrier that orders them among the threads of a block.

A kernel compiled for a GPU contains the instruction; the same kernel in Numba's simulator calls the twin below it, whose
operands are NumPy views that begin at the address.  A twin checks what the hardware demands, and is as strict as it.

Source: NVIDIA, PTX ISA 9.0; each word names its section.
"""

import threading

import numpy as np

from .asm import ADDRESS, SIMULATED, registers, results, word

if SIMULATED:

    def at(array, offset):
        """The address of element ``offset`` of a flat array: here the view that begins there."""
        array = getattr(getattr(array, "_item", array), "_ary", array)  # what the simulator wraps around an argument
        if not 0 <= offset <= array.size:
            raise IndexError(f"element {offset} of {array.size}")
        return array[offset:]

    shared_at = beyond = at

    def words_before(array, size):
        """How many words of an array in shared memory lie before the first address that is a multiple of ``size`` bytes."""
        return -at(array, 0).ctypes.data % size // 4

    def source_at(array, offset, exists):
        """The address of an element that may be copied from: of the first one, if this one does not exist."""
        return at(array, offset if exists else 0)

else:
    from llvmlite import ir
    from numba.cuda import types
    from numba.cuda.extending import intrinsic

    def start_of(context, builder, array_type, array):
        is_array = isinstance(array_type, types.Array)
        return context.make_array(array_type)(context, builder, array).data if is_array else array

    @intrinsic
    def at(_context, array, offset):
        """The address of an element of a local array or of global memory: no bounds, no negative indices of Python's."""

        def generate(context, builder, signature, values):
            offset = context.cast(builder, values[1], signature.args[1], types.int64)
            return builder.gep(start_of(context, builder, array, values[0]), [offset], inbounds=True)

        return types.CPointer(array.dtype)(array, offset), generate

    @intrinsic
    def source_at(_context, array, offset, exists):
        """The address of an element that may be copied from, with an offset below 2**32: all its arithmetic then has 32 bits.

        Where nothing exists no byte is read, and it does not matter what the address is.
        """

        def generate(context, builder, signature, values):
            offset = context.cast(builder, values[1], signature.args[1], types.uint32)
            offset = builder.zext(offset, ir.IntType(64))
            return builder.gep(start_of(context, builder, array, values[0]), [offset], inbounds=True)

        return types.CPointer(array.dtype)(array, offset, exists), generate

    @intrinsic
    def shared_at(_context, array, offset):
        """The address of an element of a shared array: a 32-bit number, half the registers and half the work of a pointer."""

        def generate(context, builder, signature, values):
            start = start_of(context, builder, array, values[0])
            start = builder.addrspacecast(start, ir.PointerType(start.type.pointee, 3))  # 3: shared memory
            offset = context.cast(builder, values[1], signature.args[1], types.uint32)
            itemsize = ir.IntType(32)(array.dtype.bitwidth // 8)
            return builder.add(builder.ptrtoint(start, ir.IntType(32)), builder.mul(offset, itemsize))

        return types.uint32(array, offset), generate

    @intrinsic
    def words_before(_context, array, size):
        """How many words of an array in shared memory lie before the first address that is a multiple of ``size`` bytes."""

        def generate(context, builder, signature, values):
            start = start_of(context, builder, array, values[0])
            start = builder.ptrtoint(builder.addrspacecast(start, ir.PointerType(start.type.pointee, 3)), ir.IntType(32))
            size = context.cast(builder, values[1], signature.args[1], types.uint32)
            return builder.lshr(builder.urem(builder.neg(start), size), ir.IntType(32)(2))

        return types.uint32(array, size), generate

    @intrinsic
    def beyond(_context, place, words):
        """The address ``words`` words behind the address ``place`` in shared memory."""

        def generate(context, builder, signature, values):
            offset = context.cast(builder, values[1], signature.args[1], types.uint32)
            return builder.add(values[0], builder.mul(offset, ir.IntType(32)(4)))

        return types.uint32(types.uint32, words), generate


def is_aligned(view, size):
    return view.ctypes.data % size == 0


@word("bar.sync 0;")
def meet_block():
    """Wait for all threads of the block; what each has written to shared memory before, all can read.  (*bar*)"""
    threading.current_thread().syncthreads()


@word("ld.shared.b32 {out}, [{place}];", out=results(1), place=ADDRESS)
def load_register(out, place):
    """Load four bytes of shared memory.  (*ld*)"""
    out[:1].view(np.uint32)[0] = place[:1].view(np.uint32)[0]


@word("ld.shared.v4.b32 {out}, [{place}];", out=results(4), place=ADDRESS)
def load_four(out, place):
    """Load sixteen bytes of shared memory.  (*ld*)"""
    assert is_aligned(place, 16)
    out[:4].view(np.uint32)[:] = place[:4].view(np.uint32)


@word("ld.global.v4.b32 {out}, [{place}];", out=results(4), place=ADDRESS)
def fetch_four(out, place):
    """Load sixteen bytes of global memory.  (*ld*)"""
    assert is_aligned(place, 16)
    out[:4] = place[:4]


@word("st.global.f32 [{place}], {value};", place=ADDRESS, value=registers(1))
def store_one(place, value):
    """Store a float32.  (*st*)"""
    place[0] = value[0]


@word("st.global.v2.f32 [{place}], {pair};", place=ADDRESS, pair=registers(2))
def store_pair(place, pair):
    """Store two float32 side by side.  (*st*)"""
    assert is_aligned(place, 8)
    place[:2] = pair[:2]


@word("st.global.v4.f32 [{place}], {four};", place=ADDRESS, four=registers(4))
def store_four(place, four):
    """Store four float32 side by side.  (*st*)"""
    assert is_aligned(place, 16)
    place[:4] = four[:4]
