"""What Python's operators mean for the types of kernels: a word is written where the operator stands.

Numba's ``overload`` would compile a function for each operator and types, and call it.
"""

from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import lower_builtin


def means(symbol, kind, *others):
    """Decorator: the intrinsic is what ``symbol`` means.

    symbol : of the module ``operator``
    kind, others : the classes that the Numba types of its operands must have
    """

    def decorate(intrinsic):
        typing = intrinsic._defn

        @infer_global(symbol)
        class Meaning(AbstractTemplate):
            def generic(self, operands, named):
                fit = not named and len(operands) == 1 + len(others) and all(map(isinstance, operands, (kind, *others)))
                found = typing(self.context, *operands) if fit else None
                return found and found[0]

        @lower_builtin(symbol, kind, *others)
        def written(context, builder, signature, values):
            _, generate = typing(context.typing_context, *signature.args)
            return generate(context, builder, signature, values)

        return intrinsic

    return decorate
