"""Arguments that carry no data: what they say is in their Numba type, so that it is settled when the code is compiled.

A register tile's shape, a transform's matrix or a window's taps are such arguments.  Python passes an object with the type as
its ``_numba_type_``, which Numba reads at every call without looking further; compiled code reads constants from it.
"""

from numba import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import NativeValue, infer_getattr, lower_getattr, models, register_model, typeof_impl, unbox

from .emit import INT64


def dataless(kind, *constants, value=None):
    """Register the type ``kind``, whose attributes ``constants`` are constants of the compiled code.

    constants : integers, or types that are dataless too
    value : the class of the Python objects that stand for it; None: there are none, compiled code makes the values.
    """
    register_model(kind)(models.OpaqueModel)

    @infer_getattr
    class Constants(AttributeTemplate):
        key = kind

        def generic_resolve(self, argument, name):
            constant = getattr(argument, name) if name in constants else None
            return types.intp if isinstance(constant, int) else constant

    for name in constants:
        lower_getattr(kind, name)(_constant(name))
    if value is not None:
        typeof_impl.register(value)(lambda argument, _context: argument._numba_type_)

        @unbox(kind)
        def nothing(unboxed, _argument, context):
            return NativeValue(context.context.get_constant_null(unboxed))


def _constant(name):
    """What writes the attribute ``name``: no function for each, which Numba would compile for a fifteenth of the time."""

    def generate(context, builder, argument, value):
        constant = getattr(argument, name)
        return INT64(constant) if isinstance(constant, int) else context.get_constant_null(constant)

    return generate
