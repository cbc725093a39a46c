"""Arguments that carry no data: what they say is in their Numba type, so that it is settled when the code is compiled.

A register tile's shape, a transform's matrix or a window's taps are such arguments.  Python passes an object with the type as
its ``_numba_type_``, which Numba reads at every call without looking further; compiled code reads constants from it.
"""

from numba.extending import NativeValue, models, overload_attribute, register_model, typeof_impl, unbox


def dataless(kind, *constants, value=None):
    """Register the type ``kind``, whose attributes ``constants`` are constants of the compiled code.

    value : the class of the Python objects that stand for it; None: there are none, compiled code makes the values.
    """
    register_model(kind)(models.OpaqueModel)
    for name in constants:
        constant_attribute(kind, name)
    if value is not None:
        typeof_impl.register(value)(lambda argument, _context: argument._numba_type_)

        @unbox(kind)
        def nothing(unboxed, _argument, context):
            return NativeValue(context.context.get_constant_null(unboxed))


def constant_attribute(kind, name):
    """Make the attribute ``name`` of the values of a type a constant of the compiled code.

    Numba compiles a function for each, a fifth of what a kernel takes.  A constant that an inner function knows by itself is
    worse: LLVM unrolls its loops before it is a part of another, not all sums find a register then, and Winograd's products
    take 1.4 times as long, the gradient of a 1x1 weight 1.7 times.
    """

    @overload_attribute(kind, name)
    def attribute(argument):
        constant = getattr(argument, name)
        return lambda argument: constant
