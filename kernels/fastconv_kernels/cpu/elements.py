"""The elements of an array from one place on, for loops over single elements that LLVM is to vectorise.

An index into a Numba array may be negative, and a view of one counts its references; both stand in the optimiser's way.
"""

from numba import types
from numba.extending import intrinsic

from .simd import Pointer


@intrinsic
def elements(_context, array, first):
    """``elements(a, first)[i]`` is element ``first + i`` of the contiguous ``a``, whatever its shape; not checked."""

    def generate(context, builder, signature, values):  # not a @word: only Numba's context can look into an array
        array, first = values
        return builder.gep(context.make_array(signature.args[0])(context, builder, array).data, [first])

    return Pointer(array.dtype, 1)(array, types.intp), generate
