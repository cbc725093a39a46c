"""Arguments that carry no data: what they say is in their Numba type, so that it is settled when the code is compiled.

A register tile's shape, a transform's matrix or a window's taps are such arguments.  Python passes an object with the type as
its ``_numba_type_``, which Numba reads at every call without looking further; compiled code reads constants from it.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.typing.templates import AttributeTemplate
from numba.extending import NativeValue, infer_getattr, lower_getattr, models, register_model, typeof_impl, unbox

from .emit import INT64

CONSTANT = "fastconv.constant."
"""How the name begins of a function that returns the integer which follows."""


def dataless(kind, *constants, value=None):
    """Register the type ``kind``, whose attributes ``constants`` are constants of the compiled code.

    constants : the names of integers, or of types that are dataless too
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
    """What writes the attribute ``name`` of a type: the call of a function that is defined where all is linked.

    A constant that an inner function knows by itself is worse: LLVM unrolls its loops before it is a part of another, not all
    sums find a register then, and Winograd's products take 1.4 times as long, the gradient of a 1x1 weight 1.7 times.
    """

    def generate(context, builder, argument, value):
        constant = getattr(argument, name)
        if not isinstance(constant, int):
            return context.get_constant_null(constant)
        function = get_or_insert_function(builder.module, ir.FunctionType(INT64, ()), f"{CONSTANT}{int(constant)}")
        function.attributes.add("nounwind")
        return builder.call(function, ())

    return generate


def define_constants(module):
    """Define in LLVM's ``module`` the functions of constants that it declares."""
    for name in [function.name for function in module.functions]:
        if name.startswith(CONSTANT):
            value = name.removeprefix(CONSTANT)
            text = f'define linkonce_odr i64 @"{name}"() alwaysinline nounwind {{ ret i64 {value} }}'
            module.link_in(llvm.parse_assembly(text))
