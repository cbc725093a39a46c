"""The elements of an array from one place on, for loops over single elements that LLVM is to vectorise.

An index into a Numba array may be negative, and a view of one counts its references; both stand in the optimiser's way.
"""

import operator

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from .operators import means


class Elements(types.Type):
    """The address of an ``element``, others after it."""

    def __init__(self, element):
        self.element = element
        super().__init__(f"Elements({element})")


@register_model(Elements)
class ElementsModel(models.PrimitiveModel):
    def __init__(self, manager, elements):
        super().__init__(manager, elements, manager.lookup(elements.element).get_data_type().as_pointer())


@intrinsic
def elements(_context, array, first):
    """``elements(a, first)[i]`` is element ``first + i`` of the contiguous ``a``, whatever its shape; not checked."""

    def generate(context, builder, signature, values):
        array, first = values
        return builder.gep(context.make_array(signature.args[0])(context, builder, array).data, [first])

    return Elements(array.dtype)(array, types.intp), generate


@means(operator.add, Elements, types.Integer)
@intrinsic
def _after(_context, base, count):
    def generate(_context, builder, _signature, values):
        return builder.gep(values[0], [values[1]])

    return base(base, types.intp), generate


@means(operator.getitem, Elements, types.Integer)
@intrinsic
def _get(_context, base, index):
    def generate(context, builder, signature, values):
        return context.unpack_value(builder, signature.return_type, builder.gep(values[0], [values[1]]))

    return base.element(base, types.intp), generate


@means(operator.setitem, Elements, types.Integer, types.Type)
@intrinsic
def _put(_context, base, index, value):
    def generate(context, builder, _signature, values):
        address = builder.gep(values[0], [values[1]])
        context.pack_value(builder, base.element, values[2], address)
        return ir.Constant(ir.IntType(8).as_pointer(), None)

    return types.none(base, types.intp, base.element), generate
