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

from .compile import inlined
from .dataless import dataless
from .emit import (
    INT32,
    INT64,
    call,
    constant,
    first_lanes,
    load_masked,
    load_vector,
    splat,
    store_masked,
    store_vector,
    suffix,
)
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


# ----------------------------------------------------------------------------------- words: rows of pixels that have an end


def _row(builder, result, load):
    """A tile of one row, vector j what ``load(number of its first column)`` gives."""
    lanes = result.element.element.count
    return each_vector(builder, ir.Constant(result, None), lambda i, j, v: load(INT64(j * lanes)))


def _between(builder, first, end, lanes):
    """The mask of the lanes whose number after ``first`` is in range(``end``)."""
    before = first_lanes(builder, builder.neg(first), lanes)
    return builder.and_(first_lanes(builder, builder.sub(end, first), lanes), builder.not_(before))


def one_row(tile, row, first, end, outside):
    """The type of a tile of one row."""
    return Sums(tile) if tile.rows == 1 and outside == tile.vector.element else None


@word(one_row)
def load_neighbours(builder, result, tile, row, first, end, outside):
    """row[first], row[first + 1], …; ``outside`` where the number is not in range(``end``)."""
    vector = result.element.element

    def load(column):
        start = builder.add(first, column)
        mask, fill = _between(builder, start, end, vector.count), splat(builder, outside, vector.count)
        return load_masked(builder, vector, builder.gep(row, [start]), mask, fill)

    return _row(builder, result, load)


@word(one_row)
def load_alternates(builder, result, tile, row, first, end, outside):
    """row[first], row[first + 2], …; ``outside`` where the number is not in range(``end``)."""
    vector = result.element.element
    both = ir.VectorType(vector.element, 2 * vector.count)
    even = ir.Constant(ir.VectorType(INT32, vector.count), list(range(0, both.count, 2)))

    def load(column):
        start = builder.add(first, builder.shl(column, INT64(1)))
        mask, fill = _between(builder, start, end, both.count), splat(builder, outside, both.count)
        loaded = load_masked(builder, both, builder.gep(row, [start]), mask, fill)
        return builder.shuffle_vector(loaded, ir.Constant(both, ir.Undefined), even)

    return _row(builder, result, load)


@word(lambda tile, row, first, stride, end, outside: one_row(tile, row, first, end, outside))
def gather(builder, result, tile, row, first, stride, end, outside):
    """row[first], row[first + stride], …; ``outside`` where the number is not in range(``end``)."""
    vector = result.element.element
    lanes = ir.VectorType(INT64, vector.count)
    numbers = ir.Constant(lanes, list(range(vector.count)))

    def load(column):
        start = splat(builder, builder.add(first, builder.mul(stride, column)), vector.count)
        number = builder.add(start, builder.mul(splat(builder, stride, vector.count), numbers))
        below = builder.icmp_signed("<", number, splat(builder, end, vector.count))
        exists = builder.and_(below, builder.icmp_signed(">=", number, constant(lanes, 0)))
        # LLVM gathers at addresses: numbers of elements become bytes after the row's beginning.
        size = ir.Constant(lanes, [8 if isinstance(vector.element, ir.DoubleType) else 4] * vector.count)
        base = splat(builder, builder.ptrtoint(row, INT64), vector.count)
        places = builder.inttoptr(builder.add(base, builder.mul(number, size)), ir.VectorType(row.type, vector.count))
        fill = splat(builder, outside, vector.count)
        name = f"llvm.masked.gather.{suffix(vector)}.v{vector.count}p0"
        return call(builder, name, vector, places, INT32(4), exists, fill)

    return _row(builder, result, load)


@word(lambda tile, row: Sums(tile) if tile.rows == 1 else None)
def load_every_other(builder, result, tile, row):
    """row[0], row[2], …; one element more is read."""
    vector = result.element.element
    both = ir.VectorType(vector.element, 2 * vector.count)
    even = ir.Constant(ir.VectorType(INT32, vector.count), list(range(0, both.count, 2)))

    def load(column):
        loaded = load_vector(builder, both, builder.gep(row, [builder.shl(column, INT64(1))]))
        return builder.shuffle_vector(loaded, ir.Constant(both, ir.Undefined), even)

    return _row(builder, result, load)


@inlined
def load_row(tile, row, first, stride, end, outside, whole):
    """row[first], row[first + stride], …; ``outside`` where the number is not in range(``end``).

    ``whole``: all numbers from the first to the one after the last are.  Masked loads cost more: in memory that is far away
    the processor does not look ahead of them.
    """
    if stride == 1:
        return load_strip(tile, row + first) if whole else load_neighbours(tile, row, first, end, outside)
    if stride == 2:
        return load_every_other(tile, row + first) if whole else load_alternates(tile, row, first, end, outside)
    return gather(tile, row, first, stride, end, outside)


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


# ------------------------------------------------------------------------------------- words: positions in memory, and back


@word(lambda tile, pointer: Sums(tile) if tile.rows == 1 else None)
def load_strip(builder, result, tile, pointer):
    """A tile of one row, side by side at ``pointer``."""
    vector = result.element.element

    def load(column):
        return load_vector(builder, vector, builder.gep(pointer, [column]))

    return _row(builder, result, load)


@word(lambda total, pointer: types.none)
def store_strip(builder, result, total, pointer):
    """The only row, side by side at ``pointer``; positions to memory of 32 or 64 bits each."""
    lanes = total.type.element.element.count
    for j in range(total.type.element.count):
        vector, wide = builder.extract_value(total, [0, j]), ir.VectorType(pointer.type.pointee, lanes)
        store_vector(
            builder, vector if wide == vector.type else builder.sext(vector, wide), builder.gep(pointer, [INT64(j * lanes)])
        )


@word(lambda total, pointer, count: types.none)
def store_strip_first(builder, result, total, pointer, count):
    """The first ``count`` elements of the only row, as ``store_strip``."""
    lanes = total.type.element.element.count
    for j in range(total.type.element.count):
        vector, wide = builder.extract_value(total, [0, j]), ir.VectorType(pointer.type.pointee, lanes)
        location, mask = (
            builder.gep(pointer, [INT64(j * lanes)]),
            first_lanes(builder, builder.sub(count, INT64(j * lanes)), lanes),
        )
        store_masked(builder, vector if wide == vector.type else builder.sext(vector, wide), location, mask)


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
