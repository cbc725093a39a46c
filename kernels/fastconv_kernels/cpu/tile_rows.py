"""Words about the rows of a register tile: one by itself, all added up, each with a vector or with its place in memory.

They serve products whose sum runs along the rows, as that of a matrix and a vector does: ``along`` multiplies lane by lane,
``add_rows`` and ``fold`` form the sums in the end.
"""

from llvmlite import ir

from .accumulate import UNROLLED
from .emit import INT64, fused_multiply_add, load_masked, load_vector, splat
from .places import Columns, Rows
from .simd import Pointer, word
from .tile import Sums, TileType


@word(lambda tile: TileType(1, tile.vectors, tile.vector))
def one_row(builder, result, tile):
    """The shape of one row of a tile."""


@word(lambda tile: TileType(1, 1, tile.vector))
def one_vector(builder, result, tile):
    """The shape of a vector."""


@word(lambda tile: TileType(1, -(-tile.rows * UNROLLED // tile.vector.lanes), tile.vector))
def rows_of_steps(builder, result, tile):
    """The shape of a row of what UNROLLED steps take of a packed panel of A, or a little longer."""


@word(lambda tile, transform: TileType(transform.outputs, 1, tile.vector))
def column(builder, result, tile, transform):
    """The shape of a column of as many vectors as ``transform`` has outputs."""


def row_type(tile, here, there):
    known = isinstance(here, Columns) and isinstance(there, Columns)
    return Sums(TileType(1, tile.vectors, tile.vector)) if known else None


@word(row_type)
def load_row(builder, result, tile, here, there):
    """A row of a tile: the columns that exist ``here``, those that do not from ``there``, zero where neither has them."""
    loaded, vector = ir.Constant(result, ir.Undefined), result.element.element
    for j in range(result.element.count):
        first, other = ([builder.extract_value(place, [field, j]) for field in (0, 1)] for place in (here, there))
        rest = load_masked(builder, vector, *other)
        loaded = builder.insert_value(loaded, load_masked(builder, vector, *first, rest), [0, j])
    return loaded


def along_type(total, rows, b):
    known = isinstance(total, Sums) and total.tile.vectors == 1 and isinstance(rows, Rows) and isinstance(b, Columns)
    return total if known else None


@word(along_type)
def along(builder, result, total, rows, b):
    """total + a vector of each of ``rows`` times the vector at ``b``, lane by lane; the mask of ``b`` is that of all."""
    mask, vector = builder.extract_value(b, [1, 0]), result.element.element
    shared = load_masked(builder, vector, builder.extract_value(b, [0, 0]), mask)
    for i in range(result.count):
        own = load_masked(builder, vector, builder.extract_value(rows, i), mask)
        added = fused_multiply_add(builder, own, shared, builder.extract_value(total, [i, 0]))
        total = builder.insert_value(total, added, [i, 0])
    return total


def scaled_type(total, factor, base, pitch):
    known = isinstance(total, Sums) and isinstance(base, Pointer) and factor == base.element
    return total if known else None


@word(scaled_type)
def add_scaled(builder, result, total, factor, base, pitch):
    """total + ``factor`` times the whole tile in memory whose row i is ``i * pitch`` after ``base``."""
    vector = result.element.element
    shared = splat(builder, factor, vector.count)
    for i in range(result.count):
        row = builder.gep(base, [builder.mul(pitch, INT64(i))])
        for j in range(result.element.count):
            own = load_vector(builder, vector, builder.gep(row, [INT64(j * vector.count)]))
            added = fused_multiply_add(builder, shared, own, builder.extract_value(total, [i, j]))
            total = builder.insert_value(total, added, [i, j])
    return total


@word(lambda total, factor, lower, base, pitch: scaled_type(total, factor, base, pitch))
def add_either(builder, result, total, factor, lower, base, pitch):
    """total + ``factor`` times the tile in memory that is a row less high: to the last rows if ``lower``, else to the first.

    Row i of that tile is ``i * pitch`` after ``base``; ``lower`` is 0 or 1.  Zero times it is added to the row that is left.
    """
    vector, last = result.element.element, result.count - 1
    low, nothing = builder.icmp_signed("!=", lower, INT64(0)), ir.Constant(factor.type, 0)
    shared = splat(builder, factor, vector.count)
    ends = {0: builder.select(low, nothing, factor), last: builder.select(low, factor, nothing)}
    for i in range(result.count):
        number = INT64(0) if i == 0 else INT64(last - 1) if i == last else builder.sub(INT64(i), lower)
        times = splat(builder, ends[i], vector.count) if i in ends else shared
        row = builder.gep(base, [builder.mul(pitch, number)])
        for j in range(result.element.count):
            own = load_vector(builder, vector, builder.gep(row, [INT64(j * vector.count)]))
            added = fused_multiply_add(builder, times, own, builder.extract_value(total, [i, j]))
            total = builder.insert_value(total, added, [i, j])
    return total


@word(lambda total: Sums(TileType(1, total.tile.vectors, total.tile.vector)) if isinstance(total, Sums) else None)
def add_rows(builder, result, total):
    """The sum of all rows, as a tile of one, added in pairs."""
    folded = ir.Constant(result, ir.Undefined)
    for j in range(result.element.count):
        rows = [builder.extract_value(total, [i, j]) for i in range(total.type.count)]
        while len(rows) > 1:
            odd = rows[len(rows) & ~1 :]
            rows = [builder.fadd(upper, lower) for upper, lower in zip(rows[::2], rows[1::2], strict=False)] + odd
        folded = builder.insert_value(folded, rows[0], [0, j])
    return folded


@word(lambda tile, total: Sums(tile) if isinstance(total, Sums) else None)
def fold(builder, result, tile, total):
    """The rows of a tile that is several times as high added up: i, i + rows, i + 2 * rows, …"""
    folded = ir.Constant(result, ir.Undefined)
    for i in range(result.count):
        for j in range(result.element.count):
            vector = builder.extract_value(total, [i, j])
            for row in range(i + result.count, total.type.count, result.count):
                vector = builder.fadd(vector, builder.extract_value(total, [row, j]))
            folded = builder.insert_value(folded, vector, [i, j])
    return folded
