"""Where the operands of a tile are in memory: the rows of A, the columns of B, the place of C.

    Rows     an address for each row: pixels of an image, rows of a matrix
    Windows  an address for every four rows, the pixels of a window, and how far they are apart
    Columns  an address and a mask of existing lanes for each vector of a row
    Place    base + offset of row i + offset of vector j, with the rows and lanes that exist, and whether all do

Matrix product, convolution, transposed convolution and Winograd products differ in nothing else, and masks replace the
second path that edges would need.
"""

import operator

from llvmlite import ir
from numba import types
from numba.extending import models, register_model

from .emit import BIT, INT64, first_lanes, integer, opaque
from .operators import means
from .simd import word


class _OfTile(types.Type):
    """A type that depends on the shape of a tile alone."""

    def __init__(self, tile):
        self.tile = tile
        super().__init__(f"{type(self).__name__}({tile})")


class Rows(_OfTile):
    """The type of ``rows`` addresses."""


class Windows(_OfTile):
    """The type of ``rows / 4`` addresses and of two distances."""


class Columns(_OfTile):
    """The type of ``vectors`` addresses, each with a mask."""


class Place(_OfTile):
    """The type of the place of a whole tile."""


def _element_pointer(manager, kind):
    return manager.lookup(kind.tile.vector.element).get_value_type().as_pointer()


def _masks(kind):
    return ir.ArrayType(ir.VectorType(BIT, kind.tile.vector.lanes), kind.tile.vectors)


@register_model(Rows)
class RowsModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.ArrayType(_element_pointer(manager, kind), kind.tile.rows))


@register_model(Windows)
class WindowsModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        pointers = ir.ArrayType(_element_pointer(manager, kind), kind.tile.rows // 4)
        super().__init__(manager, kind, ir.LiteralStructType([pointers, INT64, INT64]))


@register_model(Columns)
class ColumnsModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        pointers = ir.ArrayType(_element_pointer(manager, kind), kind.tile.vectors)
        super().__init__(manager, kind, ir.LiteralStructType([pointers, _masks(kind)]))


@register_model(Place)
class PlaceModel(models.PrimitiveModel):
    """base, offsets of rows and of vectors, of each vector the lanes from and to, rows, whether all exist; none: its type."""

    def __init__(self, manager, kind):
        rows, vectors = (ir.ArrayType(INT64, count) for count in (kind.tile.rows, kind.tile.vectors))
        mask = ir.ArrayType(ir.VectorType(BIT, kind.tile.vector.lanes), 0)
        fields = [_element_pointer(manager, kind), rows, vectors, vectors, vectors, INT64, BIT, mask]
        super().__init__(manager, kind, ir.LiteralStructType(fields))


def _filled(builder, aggregate, path, values):
    """``aggregate`` with ``values`` at path[0], path[1], …"""
    for index, value in enumerate(values):
        aggregate = builder.insert_value(aggregate, value, [*path, index])
    return aggregate


def _beside(count):
    """The mask of each vector of a row, of which the first ``count`` elements exist."""

    def masks(builder, vectors, lanes):
        return [first_lanes(builder, builder.sub(count, INT64(j * lanes)), lanes) for j in range(vectors)]

    return masks


# ---------------------------------------------------------------------------------------------------------- words: rows


@word(lambda tile, base, stride, count: Rows(tile))
def rows_apart(builder, result, tile, base, stride, count):
    """Row i is ``i * stride`` after ``base``; rows from ``count`` on repeat the first."""
    pointers = []
    for i in range(result.count):
        exists = builder.icmp_signed("<", INT64(i), count)
        pointers.append(builder.gep(base, [builder.mul(stride, builder.select(exists, INT64(i), INT64(0)))]))
    return _filled(builder, ir.Constant(result, ir.Undefined), [], pointers)


@word(lambda tile, base, table, count: Rows(tile))
def rows_at(builder, result, tile, base, table, count):
    """Row i is ``table[i]`` after ``base``; rows from ``count`` on repeat the first."""
    located = _located(builder, base, _table(builder, table, result.count), count)
    return _filled(builder, ir.Constant(result, ir.Undefined), [], located)


@word(lambda tile, base, table, count: Windows(tile))
def windows_at(builder, result, tile, base, table, count):
    """``rows_at`` where every four rows are the pixels of a window, each at the same places in it."""
    first, across, down = _table(builder, table, 3)
    windows = _table(builder, table, 4 * result.elements[0].count)[::4]
    located = _located(builder, base, windows, builder.sdiv(count, INT64(4)))
    filled = _filled(builder, ir.Constant(result, ir.Undefined), [0], located)
    for field, offset in ((1, across), (2, down)):
        filled = builder.insert_value(filled, builder.sub(offset, first), field)
    return filled


def _located(builder, base, offsets, count):
    """The addresses ``offsets`` after ``base``; from ``count`` on the first again."""
    with builder.if_else(builder.icmp_signed("<", count, INT64(len(offsets))), likely=False) as (some, all_of_them):
        with some:
            exist = [builder.icmp_signed("<", INT64(i), count) for i in range(len(offsets))]
            chosen = [builder.select(*pair, offsets[0]) for pair in zip(exist, offsets, strict=True)]
            from_some = builder.block
        with all_of_them:
            from_all = builder.block
    merged = []
    for offset, choice in zip(offsets, chosen, strict=True):
        either = builder.phi(INT64)
        either.add_incoming(choice, from_some)
        either.add_incoming(offset, from_all)
        merged.append(either)
    return [builder.gep(base, [offset]) for offset in merged]


@means(operator.add, Rows, types.Integer)
@word(lambda rows, offset: rows)
def shift_rows(builder, result, rows, offset):
    """The same rows ``offset`` elements further on; in code: ``rows + offset``."""
    moved = [builder.gep(builder.extract_value(rows, i), [offset]) for i in range(result.count)]
    return _filled(builder, rows, [], moved)


@means(operator.add, Windows, types.Integer)
@word(lambda windows, offset: windows)
def shift_windows(builder, result, windows, offset):
    """The same windows ``offset`` elements further on; in code: ``windows + offset``."""
    pointers = [builder.extract_value(windows, [0, i]) for i in range(result.elements[0].count)]
    return _filled(builder, windows, [0], [opaque(builder, builder.gep(pointer, [offset])) for pointer in pointers])


def row_address(builder, rows, i):
    """Emitter: the address of row i of ``Rows`` or ``Windows``."""
    if isinstance(rows.type, ir.ArrayType):
        return builder.extract_value(rows, i)
    place = builder.extract_value(rows, [0, i // 4])
    across, down = (builder.extract_value(rows, field) for field in (1, 2))
    offset = (None, across, down, builder.add(down, across))[i % 4]
    return builder.gep(place, [offset]) if offset else place


# ------------------------------------------------------------------------------------------------------- words: columns


def _columns(builder, result, pointers, masks):
    located = _filled(builder, ir.Constant(result, ir.Undefined), [0], pointers)
    return _filled(builder, located, [1], masks)


@word(lambda tile, base: Columns(tile))
def panel(builder, result, tile, base):
    """All columns of a tile, side by side from ``base`` on: a row of a packed panel."""
    pointers, masks = result.elements
    lanes = masks.element.count
    every = ir.Constant(masks.element, [1] * lanes)
    side_by_side = [builder.gep(base, [INT64(j * lanes)]) for j in range(pointers.count)]
    return _columns(builder, result, side_by_side, [every] * pointers.count)


@word(lambda tile, base, count: Columns(tile))
def columns(builder, result, tile, base, count):
    """A tile's columns side by side from ``base`` on; the first ``count`` exist."""
    pointers, masks = result.elements
    lanes = masks.element.count
    side_by_side = [builder.gep(base, [INT64(j * lanes)]) for j in range(pointers.count)]
    return _columns(builder, result, side_by_side, _beside(count)(builder, pointers.count, lanes))


def _table(builder, table, count):
    return [integer(builder, builder.load(builder.gep(table, [INT64(j)]))) for j in range(count)]


@word(lambda tile, base, offsets: Columns(tile))
def panel_at(builder, result, tile, base, offsets):
    """A tile's columns, vector j at ``base + offsets[j]``; all exist."""
    pointers, masks = result.elements
    located = [builder.gep(base, [offset]) for offset in _table(builder, offsets, pointers.count)]
    every = ir.Constant(masks.element, [1] * masks.element.count)
    return _columns(builder, result, located, [every] * pointers.count)


@means(operator.add, Columns, types.Integer)
@word(lambda columns, offset: columns)
def shift_columns(builder, result, columns, offset):
    """The same columns ``offset`` elements further on; in code: ``columns + offset``."""
    count = result.elements[0].count
    return _filled(
        builder, columns, [0], [builder.gep(builder.extract_value(columns, [0, j]), [offset]) for j in range(count)]
    )


# -------------------------------------------------------------------------------------------------------- words: places


def address(builder, place, i, j):
    """Emitter: the address of vector j of row i."""
    offset = builder.add(builder.extract_value(place, [1, i]), builder.extract_value(place, [2, j]))
    return builder.gep(builder.extract_value(place, 0), [offset])


def exists(builder, place, i):
    """Emitter: whether there is row i."""
    return builder.icmp_signed("<", INT64(i), builder.extract_value(place, 5))


def whole(builder, place):
    """Emitter: whether all rows and lanes exist."""
    return builder.extract_value(place, 6)


def existing(builder, place, j):
    """Emitter: the mask of the lanes of vector j that exist.

    It is formed where it is needed, at edges: masks of every tile would take registers from the sums.
    """
    _, _, lanes = _shape(place.type)
    first, end = (first_lanes(builder, builder.extract_value(place, [field, j]), lanes) for field in (3, 4))
    return builder.and_(end, builder.not_(first))


def _place(builder, result, base, offsets, ends, rows, all_columns, firsts=None):
    """offsets: of rows, of vectors; of vector j the lanes ``firsts[j]``, or 0, to ``ends[j]`` exist."""
    located = builder.insert_value(ir.Constant(result, ir.Undefined), base, 0)
    for field, values in enumerate((*offsets, firsts or [INT64(0)] * len(ends), ends), 1):
        located = _filled(builder, located, [field], values)
    all_rows = builder.icmp_signed(">=", rows, INT64(result.elements[1].count))
    located = builder.insert_value(located, rows, 5)
    return builder.insert_value(located, builder.and_(all_rows, all_columns), 6)


def _at_least(builder, counts, least):
    """Whether each of ``counts`` is at least ``least``."""
    enough = BIT(1)
    for count in counts:
        enough = builder.and_(enough, builder.icmp_signed(">=", count, INT64(least)))
    return enough


def _shape(result):
    """(rows, vectors, lanes) of a place's LLVM type."""
    return result.elements[1].count, result.elements[2].count, result.elements[7].element.count


def _side_by_side(builder, result, stride):
    """The offsets of a block's rows and vectors."""
    height, vectors, lanes = _shape(result)
    return [builder.mul(stride, INT64(i)) for i in range(height)], [INT64(j * lanes) for j in range(vectors)]


def _left(builder, result, count):
    """Of ``count`` elements those that are left for each vector of a row."""
    _, vectors, lanes = _shape(result)
    return [builder.sub(count, INT64(j * lanes)) for j in range(vectors)]


@word(lambda tile, base, stride, rows, count: Place(tile))
def block(builder, result, tile, base, stride, rows, count):
    """A block of a matrix: row i ``i * stride`` after ``base``; ``rows`` x ``count`` elements exist."""
    _, vectors, lanes = _shape(result)
    all_columns = _at_least(builder, [count], vectors * lanes)
    offsets = _side_by_side(builder, result, stride)
    return _place(builder, result, base, offsets, _left(builder, result, count), rows, all_columns)


@word(lambda tile, base, stride, rows, first, end: Place(tile))
def between(builder, result, tile, base, stride, rows, first, end):
    """``block``, of whose columns only ``first`` … ``end`` exist."""
    firsts, ends = (_left(builder, result, count) for count in (first, end))
    return _place(builder, result, base, _side_by_side(builder, result, stride), ends, rows, BIT(0), firsts)


@word(lambda tile, base, table, rows, count: Place(tile))
def scattered(builder, result, tile, base, table, rows, count):
    """Rows wherever a table says: row i ``table[i]`` after ``base``; ``rows`` x ``count`` elements exist."""
    height, vectors, lanes = _shape(result)
    offsets = _table(builder, table, height), [INT64(j * lanes) for j in range(vectors)]
    all_columns = _at_least(builder, [count], vectors * lanes)
    return _place(builder, result, base, offsets, _left(builder, result, count), rows, all_columns)


@word(lambda tile, base, stride, rows, offsets, counts: Place(tile))
def strips(builder, result, tile, base, stride, rows, offsets, counts):
    """Vectors wherever a table says: vector j of row i ``i * stride + offsets[j]`` after ``base``, ``counts[j]`` of it."""
    height, vectors, lanes = _shape(result)
    down, ends = [builder.mul(stride, INT64(i)) for i in range(height)], _table(builder, counts, vectors)
    all_columns = _at_least(builder, ends, lanes)
    return _place(builder, result, base, (down, _table(builder, offsets, vectors)), ends, rows, all_columns)
