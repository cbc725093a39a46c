"""Vector words for Numba code on the CPU.

Numba has no vector values.  This module adds them in three steps: a *word* is a Python function that emits LLVM IR; a
``Pointer`` is an address that knows its element type and how many elements one vector register holds; a ``Vector`` is that
many elements as one value.  LLVM turns ``<16 x float>`` into one AVX-512 register, and legalises any width on any machine,
so that the same source runs, and is tested, with 16, 8 or 4 lanes (environment variable ``FASTCONV_LANES``).

Source: Numba, "Extending Numba", @intrinsic.
"""

import inspect
import operator
import os
from functools import cache, wraps

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from .emit import INT32, INT64, first_lanes, integer, load_masked, prefetch_line, store_masked, store_vector
from .operators import means

LANES = (4, 8, 16)
"""The numbers of float32 lanes that can be asked for."""


@cache
def register_bytes():
    """Bytes in a vector register: of the widest that the machine has, or ``FASTCONV_LANES`` times four."""
    if asked := os.environ.get("FASTCONV_LANES"):
        if asked not in map(str, LANES):
            raise ValueError(f"FASTCONV_LANES: expected one of {LANES}, got {asked!r}")
        return 4 * int(asked)
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


@cache
def registers():
    """How many vector registers there are: 32 with AVX-512 and on Arm, 16 on other x86 machines."""
    x86 = llvm.get_process_triple().startswith(("x86", "i"))
    return 16 if x86 and not llvm.get_host_cpu_features().get("avx512f") else 32


# ---------------------------------------------------------------------------------------------------------------- types


class Vector(types.Type):
    """``lanes`` elements in one register."""

    def __init__(self, element, lanes):
        self.element, self.lanes = element, lanes
        super().__init__(f"Vector({element}, {lanes})")


class Pointer(types.Type):
    """The address of an ``element``, read and written ``lanes`` at a time."""

    def __init__(self, element, lanes):
        self.element, self.lanes = element, lanes
        super().__init__(f"Pointer({element}, {lanes})")

    @property
    def vector(self):
        return Vector(self.element, self.lanes)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        element = manager.lookup(vector.element).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.lanes))


@register_model(Pointer)
class PointerModel(models.PrimitiveModel):
    def __init__(self, manager, pointer):
        element = manager.lookup(pointer.element).get_value_type()
        super().__init__(manager, pointer, element.as_pointer())


# ------------------------------------------------------------------------------------------------------------ the maker


def word(returns):
    """Make a word: ``@word(types → type)`` over ``def name(builder, result, *operands)``.

    ``returns`` maps the Numba types of the operands to the type of the result, or to None where the word does not apply.
    The decorated function receives the LLVM builder, the LLVM type of the result, and one LLVM value for each operand; it
    emits instructions and gives back the LLVM value of the result (nothing if the word only acts).
    """

    def decorate(emit):
        @wraps(emit)
        def typing(_context, *operands):
            result = returns(*operands)
            if result is None:
                return None
            # A literal 3 arrives as Literal[int](3), a table entry as int32: emitters see one integer type only.
            accepted = [types.intp if isinstance(operand, types.Integer) else operand for operand in operands]

            def generate(context, builder, _signature, values):
                value = emit(builder, context.get_value_type(result), *values)
                return context.get_dummy_value() if value is None else value

            return result(*accepted), generate

        # Numba matches calls against this signature, so words have names for their operands and accept keywords.
        operands = list(inspect.signature(emit).parameters.values())[2:]
        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        typing.__signature__ = inspect.Signature([context, *operands])
        return intrinsic(typing)

    return decorate


# ------------------------------------------------------------------------------------------ words: what @njit code calls


@means(operator.add, Pointer, types.Integer)
@word(lambda pointer, count: pointer)
def advance(builder, result, pointer, count):
    """The address ``count`` elements further on; in code: ``pointer + count``.  None stays None."""
    return builder.gep(pointer, [count])


@means(operator.getitem, Pointer, types.Integer)
@word(lambda pointer, index: pointer.element)
def get(builder, result, pointer, index):
    """One element; in code: ``pointer[index]``."""
    return builder.load(builder.gep(pointer, [index]))


@means(operator.setitem, Pointer, types.Integer, types.Type)
@word(lambda pointer, index, value: types.none if value == pointer.element else None)
def put(builder, result, pointer, index, value):
    """One element; in code: ``pointer[index] = value``."""
    builder.store(value, builder.gep(pointer, [index]))


@word(lambda pointer, count: pointer.vector)
def load_first(builder, result, pointer, count):
    """The first ``count`` elements at ``pointer``, zero in the other lanes."""
    return load_masked(builder, result, pointer, first_lanes(builder, count, result.count))


@word(lambda pointer, count: pointer.vector)
def load_alternate(builder, result, pointer, count):
    """Elements 0, 2, 4, … at ``pointer``, the first ``count`` of them, zero in the other lanes."""
    both = ir.VectorType(result.element, 2 * result.count)
    touched = builder.sub(builder.shl(count, INT64(1)), INT64(1))  # the last element wanted is the last one read
    loaded = load_masked(builder, both, pointer, first_lanes(builder, touched, both.count))
    even = ir.Constant(ir.VectorType(INT32, result.count), list(range(0, both.count, 2)))
    return builder.shuffle_vector(loaded, ir.Constant(both, ir.Undefined), even)


@word(lambda pointer: pointer.vector)
def nothing(builder, result, pointer):
    """A vector of zeros, of the kind that ``pointer`` addresses."""
    return ir.Constant(result, None)


@means(operator.add, Vector, Vector)
@word(lambda vector, other: vector if vector == other else None)
def sum_of(builder, result, vector, other):
    """Lane by lane; in code: ``vector + other``."""
    return builder.fadd(vector, other)


@word(lambda pointer, vector: types.none)
def store(builder, result, pointer, vector):
    """All lanes of ``vector`` to ``pointer``."""
    store_vector(builder, vector, pointer)


@word(lambda pointer, vector, count: types.none)
def store_first(builder, result, pointer, vector, count):
    """The first ``count`` lanes of ``vector`` to ``pointer``."""
    store_masked(builder, vector, pointer, first_lanes(builder, count, vector.type.count))


@word(lambda pointer: types.none)
def prefetch(builder, result, pointer):
    """Bring the cache line of ``pointer`` nearer, soon."""
    prefetch_line(builder, pointer)


@word(lambda pointer: types.none)
def prefetch_further(builder, result, pointer):
    """Bring the cache line of ``pointer`` into the second cache: it is wanted later, and others are in the first."""
    prefetch_line(builder, pointer, level=2)


@word(lambda pointer: types.none)
def touch(builder, result, pointer):
    """Read the element at ``pointer`` for the sake of its cache line alone."""
    address = builder.bitcast(pointer, INT32.as_pointer())
    builder.load_atomic(address, "monotonic", 4)  # in an order, so that it is not left out; costs no more


@word(lambda table, index: types.intp)
def entry(builder, result, table, index):
    """Entry ``index`` of a table of integers of any width."""
    return integer(builder, builder.load(builder.gep(table, [index])))
