"""The register tile: a small matrix that lives in vector registers, as one Numba value.

A product of matrices is fast when each element loaded is used many times.  The tile is where that happens: ``rows`` by
``vectors * lanes`` running sums that stay in registers while ``rank1`` adds one outer product after another.  One step loads
``rows + columns`` elements and performs ``rows * columns`` fused multiply-adds.

    total = zero(tile)
    for k in range(depth):
        total = rank1(total, a + k, panel(tile, b + k * tile.columns))
    store_tile(total, place)

A ``Tile`` is an ordinary argument that carries no data (``dataless``): its Numba *type* is the shape, so that Numba compiles
every function once for each shape and the shape costs nothing when the code runs.  ``places`` says where operands are in
memory, ``accumulate`` has the loop over k.

Sources: Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008; Van Zee & van de Geijn, "BLIS", 2015.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from .compile import inlined
from .dataless import dataless
from .emit import INT64, fused_multiply_add, load_masked, prefetch_line, splat, store_masked, store_vector, stream_vector
from .places import Columns, Place, Rows, Windows, address, existing, exists, row_address, whole
from .simd import Pointer, Vector, register_bytes, registers, word

# --------------------------------------------------------------------------------------------------- the shape of a tile


class Tile:
    """The shape of a register tile: ``rows`` x ``vectors`` vectors of ``lanes`` elements of type ``dtype``.

    Rule: rows * vectors sums, ``vectors`` elements of B and one of A must fit in the registers (32 with AVX-512).
    """

    def __init__(self, rows, vectors, dtype, lanes=None):
        element = numba.from_dtype(np.dtype(dtype))
        self.rows, self.vectors, self.dtype = rows, vectors, dtype
        self.lanes = lanes or register_bytes() * 8 // element.bitwidth
        self.columns = vectors * self.lanes
        self.itemsize = element.bitwidth // 8
        self._numba_type_ = TileType(rows, vectors, Vector(element, self.lanes))

    def fits(self):
        """Whether the sums, a row of B and an element of A fit in the registers of this machine."""
        return self.rows * self.vectors + self.vectors + 1 <= registers()

    def of_last(self, columns):
        """The tile for what is left of ``columns`` cut in tiles of this width: only as many vectors as that needs."""
        vectors = -(-(columns % self.columns) // self.lanes)
        return Tile(self.rows, vectors, self.dtype, self.lanes) if vectors else self

    def __repr__(self):
        return f"Tile({self.rows} x {self.vectors} vectors of {self.lanes})"


LOAD_COST = 0.3
"""Time of a load from the nearest cache, in fused multiply-adds of a vector, that is not hidden behind them."""


LATENCY_SUMS = 8
"""Two multipliers that take four cycles each are busy with so many sums at a time; with fewer they wait."""


def fitting(shapes, columns, dtype, rows=None, narrows=False, vector_cost=LOAD_COST, waits=True):
    """The tile of ``shapes``, (rows, vectors), that fits the registers and takes least time for one multiply-add.

    It counts what is wasted of the last of ``columns`` columns (and of ``rows`` rows, if so few that it matters), and the
    loads for each multiply-add.  narrows: whether the last columns are left to a tile of fewer vectors (``of_last``);
    vector_cost: ``LOAD_COST`` of a vector of B, which may be farther away than an element of A; waits: whether few sums wait
    for the multipliers.
    """

    def spent(height, vectors):
        """On the multiply-adds of one vector for all vectors of a row."""
        sums = height * vectors
        return (
            vectors * (max(1, LATENCY_SUMS / sums) if waits else 1) * (1 + (LOAD_COST * height + vector_cost * vectors) / sums)
        )

    def cost(shape):
        height, vectors = shape
        tile = Tile(height, vectors, dtype)
        whole, last = divmod(columns, tile.columns)
        total = whole * spent(height, vectors)
        if last:
            total += spent(height, -(-last // tile.lanes) if narrows else vectors)
        return total if rows is None else total * -(-rows // height) * height

    return Tile(*min((shape for shape in shapes if Tile(*shape, dtype).fits()), key=cost), dtype)


class TileType(types.Type):
    """The type of a ``Tile``."""

    def __init__(self, rows, vectors, vector):
        self.rows, self.vectors, self.vector = rows, vectors, vector
        self.lanes, self.columns = vector.lanes, vectors * vector.lanes
        super().__init__(f"Tile({rows}, {vectors}, {vector})")


class Sums(types.Type):
    """The type of a tile's contents: rows x vectors vectors."""

    def __init__(self, tile):
        self.tile = tile
        super().__init__(f"Sums({tile})")


dataless(TileType, "rows", "vectors", "lanes", "columns", value=Tile)


@register_model(Sums)
class SumsModel(models.PrimitiveModel):
    def __init__(self, manager, sums):
        vector = manager.lookup(sums.tile.vector).get_value_type()
        super().__init__(manager, sums, ir.ArrayType(ir.ArrayType(vector, sums.tile.vectors), sums.tile.rows))


@intrinsic
def pointer(_context, tile, array, offset):
    """The address of element ``offset`` of the contiguous ``array``, read in vectors of the tile's width; None of None."""
    if isinstance(array, types.NoneType):
        return types.none(tile, array, types.intp), lambda context, *_: context.get_dummy_value()

    def generate(context, builder, signature, values):  # not a @word: only Numba's context can look into an array
        _, array, offset = values
        return builder.gep(context.make_array(signature.args[1])(context, builder, array).data, [offset])

    return Pointer(array.dtype, tile.vector.lanes)(tile, array, types.intp), generate


@word(lambda tile, address: Pointer(tile.vector.element, tile.vector.lanes))
def room(builder, result, tile, address):
    """Memory at ``address``, a number: a workspace is passed on faster so than as an array, and its owner keeps it alive."""
    return builder.inttoptr(address, result)


@word(lambda tile, address: Pointer(types.int64, tile.vector.lanes))
def table_at(builder, result, tile, address):
    """A table of 64-bit integers at ``address``, a number."""
    return builder.inttoptr(address, result)


# -------------------------------------------------------------------------------------------- words: the contents of a tile


def each_vector(builder, total, change):
    """The tile with every vector (i, j) replaced by ``change(i, j, vector)``."""
    for i in range(total.type.count):
        for j in range(total.type.element.count):
            changed = change(i, j, builder.extract_value(total, [i, j]))
            total = builder.insert_value(total, changed, [i, j])
    return total


@word(lambda tile: Sums(tile))
def zero(builder, result, tile):
    """All sums zero."""
    return ir.Constant(result, None)


@word(lambda tile, bias: Sums(tile))
def spread_rows(builder, result, tile, bias):
    """Every sum of row i is ``bias[i]``."""
    lanes = result.element.element.count
    row = [splat(builder, builder.load(builder.gep(bias, [INT64(i)])), lanes) for i in range(result.count)]
    return each_vector(builder, ir.Constant(result, None), lambda i, j, _: row[i])


@word(lambda tile, bias: Sums(tile) if isinstance(bias, Columns) else None)
def spread_columns(builder, result, tile, bias):
    """Every row is the row at the columns ``bias``, zero where they do not exist."""
    vectors, vector = range(result.element.count), result.element.element
    places = [[builder.extract_value(bias, [field, j]) for field in (0, 1)] for j in vectors]
    row = [load_masked(builder, vector, location, mask) for location, mask in places]
    return each_vector(builder, ir.Constant(result, None), lambda i, j, _: row[j])


def rank1_type(total, a, b):
    in_registers = isinstance(b, Sums) and b.tile.rows == 1
    known = isinstance(total, Sums) and isinstance(a, (Pointer, Rows, Windows)) and (isinstance(b, Columns) or in_registers)
    return total if known else None


@word(rank1_type)
def rank1(builder, result, total, a, b):
    """total + the outer product of ``rows`` elements and a row of columns ``b``.

    ``a`` is either a Pointer to a packed panel, the elements side by side, or ``Rows`` or ``Windows``, which know addresses;
    ``b`` is in memory, or a tile of one row.
    """
    vectors, vector = result.element.count, result.element.element
    if isinstance(b.type, ir.ArrayType):
        row = [builder.extract_value(b, [0, j]) for j in range(vectors)]
    else:
        masks = [builder.extract_value(b, [1, j]) for j in range(vectors)]
        row = [load_masked(builder, vector, builder.extract_value(b, [0, j]), masks[j]) for j in range(vectors)]
    for i in range(result.count):
        packed = isinstance(a.type, ir.PointerType)
        element = builder.gep(a, [INT64(i)]) if packed else row_address(builder, a, i)
        factor = splat(builder, builder.load(element), vector.count)
        for j in range(vectors):
            added = fused_multiply_add(builder, factor, row[j], builder.extract_value(total, [i, j]))
            total = builder.insert_value(total, added, [i, j])
    return total


@word(lambda tile, place: Sums(tile) if isinstance(place, Place) else None)
def load_tile(builder, result, tile, place):
    """The tile in memory; rows and columns that do not exist are zero, and their memory is not touched."""
    loaded = ir.Constant(result, ir.Undefined)
    masks = [existing(builder, place, j) for j in range(result.element.count)]
    for i in range(result.count):
        for j in range(result.element.count):
            mask = builder.and_(masks[j], splat(builder, exists(builder, place, i), masks[j].type.count))
            vector = load_masked(builder, result.element.element, address(builder, place, i, j), mask)
            loaded = builder.insert_value(loaded, vector, [i, j])
    return loaded


@word(lambda total, place: types.none if isinstance(place, Place) else None)
def store_tile(builder, result, total, place):
    """The rows and columns of the tile that exist, to memory."""
    done = builder.append_basic_block("rows.done")
    every, some = builder.append_basic_block("all.rows"), builder.append_basic_block("some.rows")
    builder.cbranch(whole(builder, place), every, some)
    builder.position_at_end(every)  # the usual case: neither branches nor masks
    for i in range(total.type.count):
        for j in range(total.type.element.count):
            store_vector(builder, builder.extract_value(total, [i, j]), address(builder, place, i, j))
    builder.branch(done)
    builder.position_at_end(some)
    masks = [existing(builder, place, j) for j in range(total.type.element.count)]
    for i in range(total.type.count):
        with_row = builder.append_basic_block(f"row.{i}")
        builder.cbranch(exists(builder, place, i), with_row, done)
        builder.position_at_end(with_row)
        for j in range(total.type.element.count):
            store_masked(builder, builder.extract_value(total, [i, j]), address(builder, place, i, j), masks[j])
    builder.branch(done)
    builder.position_at_end(done)


@word(lambda total, place: types.none if isinstance(place, Place) else None)
def stream_tile(builder, result, total, place):
    """A whole tile to memory, past the caches; its vectors start at multiples of their size.  Then comes ``streamed``."""
    for i in range(total.type.count):
        for j in range(total.type.element.count):
            stream_vector(builder, builder.extract_value(total, [i, j]), address(builder, place, i, j))


@word(lambda tile: types.none)
def streamed(builder, result, tile):
    """Whoever is told afterwards that the work is done finds in memory what went past the caches."""
    builder.fence("seq_cst")


@word(lambda place: types.none if isinstance(place, Place) else None)
def prefetch_tile(builder, result, place):
    """Bring a tile's place in memory nearer while its sums are being formed."""
    for i in range(place.type.elements[1].count):
        for j in range(place.type.elements[2].count):
            prefetch_line(builder, address(builder, place, i, j), write=True)


@word(lambda total, other: total)
def add_tile(builder, result, total, other):
    """total + other."""
    return each_vector(builder, total, lambda i, j, v: builder.fadd(v, builder.extract_value(other, [i, j])))


@word(lambda total: total)
def rectify(builder, result, total):
    """max(total, 0).  A NaN is not below zero and stays."""
    nothing = ir.Constant(result.element.element, None)
    return each_vector(builder, total, lambda i, j, v: builder.select(builder.fcmp_ordered("<", v, nothing), nothing, v))


@inlined
def finish(tile, total, place, other, flags):
    """``total`` to its place, with the addend from the ``other`` place, ReLU, past the caches; flags: whether there are these.

    Past the caches goes a whole tile whose vectors start at multiples of their size.
    """
    adds, rectifies, past = flags
    if adds:
        total = add_tile(total, load_tile(tile, other))
    if rectifies:
        total = rectify(total)
    if past:
        stream_tile(total, place)
    else:
        store_tile(total, place)
