"""Arguments that carry no data: what they say is in their Numba type, so that it is settled when the code is compiled.

A register tile's shape, a transform's matrix or a window's taps are such arguments.  Python passes an object with the type as
its ``_numba_type_``, which Numba reads at every call without looking further; compiled code reads constants from it.
"""

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import NativeValue, infer_getattr, lower_getattr, models, register_model, typeof_impl, unbox


def dataless(kind, *constants, value=None):
    """Register the type ``kind``, whose attributes ``constants`` are constants of the compiled code.

    An attribute that is a type stands for the value of that type, which carries no data either.

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

    Numba's ``overload_attribute`` would do, but compiles a function for each constant: a fifth of what a kernel takes.
    """

    def resolve(typing_context, argument):
        value = getattr(argument, name)
        return value if isinstance(value, types.Type) else types.unliteral(typing_context.resolve_value_type(value))

    members = {"key": kind, f"resolve_{name}": lambda template, argument: resolve(template.context, argument)}
    infer_getattr(type(f"Constant_{name}", (AttributeTemplate,), members))

    @lower_getattr(kind, name)
    def constant(context, builder, argument, _value):
        value, result = getattr(argument, name), resolve(context.typing_context, argument)
        if value is result:
            return context.get_constant_null(result)
        return builder.call(_giving(context, builder.module, f"{argument}.{name}", result, value), ())


def _giving(context, module, name, kind, value):
    """A function of LLVM's that returns ``value``, to be inlined where an exported function is optimised as a whole.

    If an inner function knew the number itself, its loops of so many steps would be unrolled before it is a part of another:
    then not all sums of Winograd's products find a register, and they take 1.4 times as long.
    """
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(context.get_value_type(kind), ()), name)
    function.linkage = "internal"
    function.attributes.add("alwaysinline")
    body = ir.IRBuilder(function.append_basic_block())
    body.ret(context.get_constant_generic(body, kind, value))
    return function
