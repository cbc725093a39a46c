"""Pooling in registers: the maximum of four vectors and the place of each lane's, and the way back through ReLU.

A *position* is one byte: 0 … 3, the place of the first maximum in its 2 x 2 window, row by row; ``CUT`` where ReLU set it to
zero, so that no gradient passes.  Of several NaN the last is taken, as torch's pooling does.
"""

from llvmlite import ir
from numba import types

from .emit import BIT, BYTE, INT32, INT64, call, constant, first_lanes, fused_multiply_add, load_masked, load_vector, splat
from .simd import Vector, word
from .tile import Sums, TileType

CUT = 4


def first_of_four(builder, vectors):
    """Emitter: (relu of the maximum of four vectors, positions)."""
    lanes = vectors[0].type.count
    bytes_of = ir.VectorType(BYTE, lanes)
    best, position = vectors[0], constant(bytes_of, 0)
    for place, vector in enumerate(vectors[1:], 1):
        not_a_number = builder.fcmp_unordered("uno", vector, vector)
        wins = builder.or_(builder.fcmp_ordered(">", vector, best), not_a_number)
        best = builder.select(wins, vector, best)
        position = builder.select(wins, constant(bytes_of, place), position)
    nothing = ir.Constant(best.type, None)
    cut = builder.fcmp_ordered("<=", best, nothing)
    return builder.select(cut, nothing, best), builder.select(cut, constant(bytes_of, CUT), position)


def quarter(tile, element):
    """The type of a tile of ``element`` with a row for each window of four rows."""
    return TileType(tile.rows // 4, tile.vectors, Vector(element, tile.lanes)) if tile.rows % 4 == 0 else None


@word(lambda tile: quarter(tile, tile.vector.element))
def windows(builder, result, tile):
    """The shape of a tile's maxima."""


@word(lambda tile: quarter(tile, types.uint8))
def window_positions(builder, result, tile):
    """The shape of a tile's positions."""


def each_window(builder, result, total, field):
    """The tile whose vectors are what ``first_of_four`` gives for rows 4 i … 4 i + 3."""
    pooled = ir.Constant(result, ir.Undefined)
    for i in range(result.count):
        for j in range(result.element.count):
            four = [builder.extract_value(total, [4 * i + n, j]) for n in range(4)]
            pooled = builder.insert_value(pooled, first_of_four(builder, four)[field], [i, j])
    return pooled


@word(lambda total: Sums(quarter(total.tile, total.tile.vector.element)))
def maxima(builder, result, total):
    """relu of the maximum of every four rows."""
    return each_window(builder, result, total, 0)


@word(lambda total: Sums(quarter(total.tile, types.uint8)))
def positions(builder, result, total):
    """Where each of the ``maxima`` was: what both words have in common is computed once."""
    return each_window(builder, result, total, 1)


@word(lambda tile: TileType(1, tile.vectors, Vector(types.uint8, tile.lanes)))
def one_windows_positions(builder, result, tile):
    """The shape of the positions in one row of a tile."""


def across(tile, element):
    """The type of a tile of ``element`` with a vector for each row of four."""
    return TileType(tile.rows, 1, Vector(element, tile.lanes)) if tile.vectors == 4 else None


def each_row(builder, result, total, field):
    """The tile whose vectors are what ``first_of_four`` gives for the four of each row."""
    pooled = ir.Constant(result, ir.Undefined)
    for i in range(result.count):
        four = [builder.extract_value(total, [i, n]) for n in range(4)]
        pooled = builder.insert_value(pooled, first_of_four(builder, four)[field], [i, 0])
    return pooled


@word(lambda total: Sums(across(total.tile, total.tile.vector.element)))
def maxima_across(builder, result, total):
    """relu of the maximum of the four vectors of each row."""
    return each_row(builder, result, total, 0)


@word(lambda total: Sums(across(total.tile, types.uint8)))
def positions_across(builder, result, total):
    """Where each of the ``maxima_across`` was."""
    return each_row(builder, result, total, 1)


@word(lambda tile: TileType(tile.vector.lanes, 1, Vector(types.uint8, tile.lanes)))
def square_of_positions(builder, result, tile):
    """The shape of the positions of as many windows as a vector has lanes."""


def each(builder, gradient, positions, select):
    """The vector, or the tile of vectors, that ``select`` makes of each vector of gradients and of positions."""
    if isinstance(gradient.type, ir.VectorType):
        return select(gradient, positions)
    pairs = [(i, j) for i in range(gradient.type.count) for j in range(gradient.type.element.count)]
    for i, j in pairs:
        chosen = select(builder.extract_value(gradient, [i, j]), builder.extract_value(positions, [i, j]))
        gradient = builder.insert_value(gradient, chosen, [i, j])
    return gradient


@word(lambda gradient, positions, place: gradient)
def received(builder, result, gradient, positions, place):
    """``gradient`` where the maximum was at ``place``, else 0; vectors or tiles of them."""

    def select(vector, found):
        here = builder.icmp_unsigned("==", found, splat(builder, builder.trunc(place, BYTE), found.type.count))
        return builder.select(here, vector, ir.Constant(vector.type, None))

    return each(builder, gradient, positions, select)


@word(lambda gradient, positions: gradient)
def uncut(builder, result, gradient, positions):
    """``gradient`` where ReLU let the maximum through, else 0; vectors or tiles of them."""

    def select(vector, found):
        through = builder.icmp_unsigned("!=", found, constant(found.type, CUT))
        return builder.select(through, vector, ir.Constant(vector.type, None))

    return each(builder, gradient, positions, select)


@word(lambda origins, positions, steps: origins)
def pixel_of(builder, result, origins, positions, steps):
    """origin + steps[position] of each lane, 32 bits; that of place 0 where ReLU set the maximum to zero."""
    chosen = None
    for place in range(4):
        step = builder.load(builder.gep(steps, [INT64(place)]))
        vector = splat(builder, builder.trunc(step, INT32), result.count)
        here = builder.icmp_unsigned("==", positions, constant(positions.type, place))
        chosen = vector if chosen is None else builder.select(here, vector, chosen)
    return builder.add(origins, chosen)


@word(lambda positions, place, count: types.intp)
def received_by(builder, result, positions, place, count):
    """The channels, of the first ``count``, at most 64, whose maximum was at ``place``: bit k for channel k."""
    bytes_of = ir.VectorType(BYTE, 64)
    found = load_masked(builder, bytes_of, positions, first_lanes(builder, count, 64), constant(bytes_of, CUT))
    here = builder.icmp_unsigned("==", found, splat(builder, builder.trunc(place, BYTE), 64))
    return builder.bitcast(here, result)


@word(lambda bits: types.intp)
def lowest(builder, result, bits):
    """The place of the lowest bit that is set; there must be one."""
    return call(builder, "llvm.cttz.i64", result, bits, BIT(1))


# ------------------------------------------------------------------------------------------- pixels picked from registers


@word(lambda tile, base, pitch: Sums(TileType(2 * tile.vectors, 1, tile.vector)))
def load_fours(builder, result, tile, base, pitch):
    """Half a vector of each of four rows, two rows to a vector, for every vector of ``tile``: those of the next are 3 on.

    Row i is ``i * pitch`` after ``base``.
    """
    vector, loaded = result.element.element, ir.Constant(result, ir.Undefined)
    half = ir.VectorType(vector.element, vector.count // 2)
    both = ir.Constant(ir.VectorType(INT32, vector.count), list(range(vector.count)))
    for i in range(result.count):
        first = i // 2 * 3 + i % 2 * 2
        rows = [load_vector(builder, half, builder.gep(base, [builder.mul(pitch, INT64(first + n))])) for n in range(2)]
        loaded = builder.insert_value(loaded, builder.shuffle_vector(*rows, both), [i, 0])
    return loaded


@word(lambda total, values, shifts, lanes, pixels: total)
def add_picked(builder, result, total, values, shifts, lanes, pixels):
    """Row k of ``total`` + ``values[k]`` times the ``lanes``, each ``shifts[k]`` further on, of every two registers of pixels.

    With AVX-512 alone.
    """
    vector, numbers = result.element.element, ir.VectorType(INT32, result.element.element.count)
    lanes = load_vector(builder, numbers, lanes)
    for k in range(result.count):
        factor, shift = (
            splat(builder, builder.load(builder.gep(list_, [INT64(k)])), vector.count) for list_ in (values, shifts)
        )
        order = builder.add(lanes, shift)
        for j in range(result.element.count):
            near, far = (builder.extract_value(pixels, [2 * j + n, 0]) for n in range(2))
            picked = call(builder, "llvm.x86.avx512.vpermi2var.ps.512", vector, near, order, far)
            added = fused_multiply_add(builder, factor, picked, builder.extract_value(total, [k, j]))
            total = builder.insert_value(total, added, [k, j])
    return total
