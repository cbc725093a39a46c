"""Folding windows in registers: running maxima with their positions, running means, and what a position receives.

The maxima are a tile's ``Sums``; a second tile of the same shape holds their positions as 32-bit integers.  Of equal elements
the first stays, NaN is before everything and of several NaN the last, as in torch.  The two words of a step have their
comparison in common: it is computed once.

    places = place_of_larger(places, best, value, there)
    best = larger(best, value)
"""

from typing import NamedTuple

from llvmlite import ir
from numba import types

from .dataless import dataless
from .emit import INT32, INT64, load_vector, splat
from .simd import Vector, word
from .tile import Sums, TileType, each_vector

# ------------------------------------------------------------------------------------------------------ the extent of a window


class Extent(NamedTuple):
    """``rows`` x ``columns`` of anything, as numbers that the compiled code reads."""

    rows: int
    columns: int


class KnownExtent:
    """The same, as constants of the compiled code, which unrolls the loops over them."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        self._numba_type_ = KnownExtentType(rows, columns)


class KnownExtentType(types.Type):
    """The type of a ``KnownExtent``."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        super().__init__(f"KnownExtent({rows}, {columns})")


dataless(KnownExtentType, "rows", "columns", value=KnownExtent)

UNROLLED = 3
"""Squares up to this: the windows of most networks.  Others are loops, so that not every window needs a compilation."""


def extent(rows, columns):
    """Small squares are known when the code is compiled."""
    return KnownExtent(rows, columns) if rows == columns <= UNROLLED else Extent(rows, columns)


# ---------------------------------------------------------------------------------------------------- words: to begin with


def of_positions(tile):
    """The type of a tile's positions."""
    return Sums(TileType(tile.rows, tile.vectors, Vector(types.int32, tile.vector.lanes)))


@word(lambda tile, value: Sums(tile) if value == tile.vector.element else None)
def filled_with(builder, result, tile, value):
    """Every element is ``value``."""
    return each_vector(builder, ir.Constant(result, None), lambda i, j, v: splat(builder, value, v.type.count))


@word(lambda tile, first, step: of_positions(tile))
def positions(builder, result, tile, first, step):
    """Column c of every row is at first + c * step."""
    lanes = result.element.element.count
    first, step = (splat(builder, builder.trunc(number, INT32), lanes) for number in (first, step))

    def numbers(i, j, vector):
        columns = ir.Constant(vector.type, [j * lanes + lane for lane in range(lanes)])
        return builder.add(first, builder.mul(step, columns))

    return each_vector(builder, ir.Constant(result, None), numbers)


@word(lambda tile, table, offset: of_positions(tile) if table.element == types.int32 else None)
def positions_in(builder, result, tile, table, offset):
    """Column c of every row is at table[c] + offset."""
    vector = result.element.element
    offset = splat(builder, builder.trunc(offset, INT32), vector.count)

    def numbers(i, j, _):
        return builder.add(load_vector(builder, vector, builder.gep(table, [INT64(j * vector.count)])), offset)

    return each_vector(builder, ir.Constant(result, None), numbers)


# ------------------------------------------------------------------------------------------------------ words: the maximum


def _wins(builder, value, best):
    above, nan = builder.fcmp_ordered(">", value, best), builder.fcmp_unordered("uno", value, value)
    return builder.or_(above, nan)


@word(lambda best, value: best)
def larger(builder, result, best, value):
    """The maximum so far, or ``value``."""

    def fold(i, j, vector):
        new = builder.extract_value(value, [i, j])
        # The comparison alone is the processor's maximum, which loses a NaN of its first operand.
        maximum = builder.select(builder.fcmp_ordered(">", new, vector), new, vector)
        return builder.select(builder.fcmp_unordered("uno", new, new), new, maximum)

    return each_vector(builder, best, fold)


@word(lambda places, best, value, there: places)
def place_of_larger(builder, result, places, best, value, there):
    """Where that is: ``there``, positions or one position for all, if it is ``value``."""

    def fold(i, j, vector):
        new, old = builder.extract_value(value, [i, j]), builder.extract_value(best, [i, j])
        if isinstance(there.type, ir.IntType):
            place = splat(builder, builder.trunc(there, INT32), vector.type.count)
        else:
            place = builder.extract_value(there, [i, j])
        return builder.select(_wins(builder, new, old), place, vector)

    return each_vector(builder, places, fold)


# --------------------------------------------------------------------------------------- words: what a position receives


@word(lambda total, given, indices, here: total if isinstance(indices.element, types.Integer) else None)
def add_where(builder, result, total, given, indices, here):
    """total + the elements at ``given`` whose index, at ``indices``, is ``here``: of a tile of one row."""
    vector = result.element.element
    kind = ir.VectorType(indices.type.pointee, vector.count)
    here = splat(builder, here if kind.element == INT64 else builder.trunc(here, kind.element), vector.count)

    def add(i, j, old):
        column = INT64(j * vector.count)
        index = load_vector(builder, kind, builder.gep(indices, [column]))
        new = builder.fadd(old, load_vector(builder, vector, builder.gep(given, [column])))
        return builder.select(builder.icmp_signed("==", index, here), new, old)

    return each_vector(builder, total, add)


# -------------------------------------------------------------------------------------------------------- words: the mean


@word(lambda total, divisor: total if divisor == total.tile.vector.element else None)
def divided(builder, result, total, divisor):
    """Every element divided by ``divisor``."""
    return each_vector(builder, total, lambda i, j, v: builder.fdiv(v, splat(builder, divisor, v.type.count)))


@word(lambda total, divisors: total if isinstance(divisors, Sums) and divisors == total else None)
def quotients(builder, result, total, divisors):
    """Element by element."""
    return each_vector(builder, total, lambda i, j, v: builder.fdiv(v, builder.extract_value(divisors, [i, j])))


@word(lambda total: total.tile.vector.element if (total.tile.rows, total.tile.vectors) == (1, 1) else None)
def sum_of_lanes(builder, result, total):
    """The sum of the only vector's lanes, in halves."""
    vector = builder.extract_value(total, [0, 0])
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        halves = (ir.Constant(ir.VectorType(INT32, lanes), list(range(first, first + lanes))) for first in (0, lanes))
        lower, upper = (builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), half) for half in halves)
        vector = builder.fadd(lower, upper)
    return builder.extract_element(vector, INT32(0))
