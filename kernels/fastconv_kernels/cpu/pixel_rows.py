"""A row of pixels as a tile of one row: loaded from anywhere on it, with what is beyond its ends, and stored."""

from llvmlite import ir
from numba import types

from .compile import inlined
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
from .simd import word
from .tile import Sums, each_vector


def _row(builder, result, load):
    """A tile of one row, vector j what ``load(number of its first column)`` gives."""
    lanes = result.element.element.count
    return each_vector(builder, ir.Constant(result, None), lambda i, j, v: load(INT64(j * lanes)))


def _between(builder, first, end, lanes):
    """The mask of the lanes whose number after ``first`` is in range(``end``)."""
    before = first_lanes(builder, builder.neg(first), lanes)
    return builder.and_(first_lanes(builder, builder.sub(end, first), lanes), builder.not_(before))


def _of_one_row(tile, row, first, end, outside):
    """The type of a tile of one row."""
    return Sums(tile) if tile.rows == 1 and outside == tile.vector.element else None


@word(lambda tile, pointer: Sums(tile) if tile.rows == 1 else None)
def load_strip(builder, result, tile, pointer):
    """A tile of one row, side by side at ``pointer``."""
    vector = result.element.element

    def load(column):
        return load_vector(builder, vector, builder.gep(pointer, [column]))

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


@word(_of_one_row)
def load_neighbours(builder, result, tile, row, first, end, outside):
    """row[first], row[first + 1], …; ``outside`` where the number is not in range(``end``)."""
    vector = result.element.element

    def load(column):
        start = builder.add(first, column)
        mask, fill = _between(builder, start, end, vector.count), splat(builder, outside, vector.count)
        return load_masked(builder, vector, builder.gep(row, [start]), mask, fill)

    return _row(builder, result, load)


@word(_of_one_row)
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


@word(lambda tile, row, first, stride, end, outside: _of_one_row(tile, row, first, end, outside))
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
