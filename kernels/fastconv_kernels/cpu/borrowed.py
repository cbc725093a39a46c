"""Arrays as compiled code borrows them: where they begin and how far their rows and columns are apart, and no more.

Numba makes of each array that Python passes a structure with a counter of who uses it, which takes 45 ns an array: with five
of them as long as a product of 20 x 20 matrices.  A kernel that keeps nothing after its call needs no counter: Python holds
the array meanwhile.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import NativeValue, make_attribute_wrapper, models, register_model, unbox

from .emit import INT32, INT64
from .simd import word


class Borrowed(types.Type):
    """The type of a borrowed array of at most two axes.

    It has an ``address``, and the elements from ``row`` to row and from ``column`` to column: each 1 along an axis of one
    element, whose stride NumPy leaves undefined.
    """

    def __init__(self, dtype):
        self.element = numba.from_dtype(np.dtype(dtype))
        super().__init__(f"Borrowed({self.element})")


class Example:
    """Stands for any array of ``dtype`` where code is compiled for borrowed ones."""

    def __init__(self, dtype):
        self._numba_type_ = Borrowed(dtype)


FIELDS = "address", "row", "column"


@register_model(Borrowed)
class BorrowedModel(models.StructModel):
    def __init__(self, manager, borrowed):
        super().__init__(manager, borrowed, [(name, types.int64) for name in FIELDS])


for _name in FIELDS:
    make_attribute_wrapper(Borrowed, _name, _name)


@unbox(Borrowed)
def borrow(borrowed, array, unboxing):
    """What Numba finds in an array where it counts nothing."""
    builder, context = unboxing.builder, unboxing.context
    found = context.make_array(types.Array(borrowed.element, 2, "A"))(context, builder)
    place = builder.bitcast(found._getpointer(), cgutils.voidptr_t)
    signature = ir.FunctionType(INT32, [array.type, place.type])
    adapt = cgutils.get_or_insert_function(builder.module, signature, "numba_adapt_ndarray")
    failed = cgutils.is_not_null(builder, builder.call(adapt, [array, place]))
    with builder.if_then(failed, likely=False):
        unboxing.pyapi.err_set_string("PyExc_TypeError", "expected an array")
    taken = cgutils.create_struct_proxy(borrowed)(context, builder)
    taken.address, itemsize = builder.ptrtoint(found.data, INT64), INT64(borrowed.element.bitwidth // 8)
    lengths, strides = (cgutils.unpack_tuple(builder, field, 2) for field in (found.shape, found.strides))
    taken.row, taken.column = (
        builder.select(builder.icmp_signed(">", length, INT64(1)), builder.sdiv(stride, itemsize), INT64(1))
        for length, stride in zip(lengths, strides, strict=True)
    )
    return NativeValue(taken._getvalue(), is_error=failed)


# ---------------------------------------------------------------------------------------------- Python's objects as memory


class Held(types.Type):
    """The type of any Python object, as memory: ``entry(held, n)`` is the n-th of its words of 8 bytes."""

    def __init__(self):
        super().__init__("Held")


class Anything:
    """Stands for any object where code is compiled for held ones."""

    _numba_type_ = Held()


@register_model(Held)
class HeldModel(models.PrimitiveModel):
    def __init__(self, manager, held):
        super().__init__(manager, held, INT64.as_pointer())


@unbox(Held)
def hold(_held, found, unboxing):
    return NativeValue(unboxing.builder.bitcast(found, INT64.as_pointer()))


@word(lambda held: types.int64)
def place_of(builder, result, held):
    """Where it is: what Python calls its ``id``."""
    return builder.ptrtoint(held, result)


@word(lambda place: Held())
def held_at(builder, result, place):
    """What is at this place."""
    return builder.inttoptr(place, result)
