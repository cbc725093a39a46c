"""Results that go past the caches: formed piece by piece in a near buffer, and what comes next is asked for meanwhile.

Where the third cache is as far as memory and no array of a pass stays in the second, a line that is written has been read
for nothing, and the processor by itself asks for the next lines too late.  Measured on a Granite Rapids: from 64 MB on a
plain copy moves 9 to 14 GB/s, one that asks 8 KB ahead and writes whole lines past the caches 26 to 28, of 30 that there are;
on 50 MB activations take 0.65 of the time so, batch normalisation 0.6, its gradient 0.65 to 0.95.  Rows that are exponentials
more than memory, those of softmax, gain nothing: what is asked for and passed on at a row's ends waits for itself.

Loops over ``elements`` cannot store so themselves: LLVM makes no vectors of stores that it does not know to be aligned.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compile import jit
from .elements import Elements
from .emit import INT64, load_vector, prefetch_line, stream_vector
from .workspace import LINE_BYTES, caches, far_caches

PIECE = 512
"""Elements that are formed at a time: with their sources they stay in the nearest cache."""

AHEAD = 2048
"""Elements from what is read to what is asked for."""


def goes_past(arrays, size, dtype):
    """Whether a pass over so many arrays of ``size`` elements writes past the caches."""
    return far_caches() and arrays * size * np.dtype(dtype).itemsize > caches().level3


def _line(context, kind):
    """Elements of a cache line."""
    return LINE_BYTES // (context.get_value_type(kind.element).get_abi_size(context.target_data))


@intrinsic
def line_of(_context, place):
    """The elements of a cache line at ``place``."""

    def generate(context, _builder, signature, _values):
        return INT64(_line(context, signature.args[0]))

    return types.intp(place), generate if isinstance(place, Elements) else None


@intrinsic
def before_line(_context, place):
    """How many elements there are from ``place`` to where the next cache line begins."""

    def generate(context, builder, signature, values):
        address = builder.ptrtoint(values[0], INT64)
        left = builder.and_(builder.neg(address), INT64(LINE_BYTES - 1))
        return builder.udiv(left, INT64(LINE_BYTES // _line(context, signature.args[0])))

    return types.intp(place), generate


@intrinsic
def ask_for_line(_context, place):
    """Bring the cache line of ``place`` into the second cache."""

    def generate(context, builder, _signature, values):
        prefetch_line(builder, values[0], level=2)
        return context.get_dummy_value()

    return types.none(place), generate


@intrinsic
def pass_line(_context, source, target):
    """A line of elements from ``source`` to ``target``, which begins a cache line, past the caches."""

    def generate(context, builder, signature, values):
        line = ir.VectorType(context.get_value_type(signature.args[0].element), _line(context, signature.args[0]))
        stream_vector(builder, load_vector(builder, line, values[0]), values[1])
        return context.get_dummy_value()

    return types.none(source, target), generate


@intrinsic
def passed_on(_context):
    """Whoever is told afterwards that the work is done finds in memory what went past the caches."""

    def generate(context, builder, _signature, _values):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), generate


@jit
def ask_ahead(place, count):
    """Ask for ``count`` elements, ``AHEAD`` elements behind ``place``."""
    for i in range(0, count, line_of(place)):
        ask_for_line(place + (AHEAD + i))


@jit
def pass_on(source, target, count):
    """target[0:count] = source[0:count], whole lines past the caches."""
    head, line = min(count, before_line(target)), line_of(target)
    for i in range(head):
        target[i] = source[i]
    end = head + (count - head) // line * line
    for i in range(head, end, line):
        pass_line(source + i, target + i)
    for i in range(end, count):
        target[i] = source[i]
