"""Products with few columns: a vector has four columns, and beside each other several steps of K for each.

With a column in each lane, as in ``rank1``, eight columns leave half of sixteen lanes idle, and two or three columns nearly
all.  Here a vector of B is ``steps = lanes / 4`` steps of four columns, b[k, 0], b[k + 1, 0], …, b[k, 1], b[k + 1, 1], …; it
meets ``steps`` elements of a row of A, repeated for each column, which one instruction loads:

    total[i, 4 * q + c] = sum over the steps of K in the lanes of (sums[i, q])[c * steps:][:steps]

In the end, once, ``join_steps`` adds up the lanes of each column.  Four columns of sixteen lanes then take a quarter of the
multiply-adds.

Source: the order of B for Intel's VNNI instructions, which have the idea in silicon: oneDNN, "Understanding Memory Formats".
"""

from llvmlite import ir

from .compile import inlined, jit
from .emit import INT32, first_lanes, fused_multiply_add, load_masked, load_vector
from .pack import one_row
from .places import Columns, Rows, block, panel, rows_apart
from .simd import prefetch, word
from .tile import Sums, TileType, load_tile, store_tile

GROUP = 4
"""Columns that share a vector."""

AHEAD = 1024
"""Elements before it is read at which A is asked for, where its rows are one run from far and B has few columns.

On a Granite Rapids 25088 x 4 x 64 took 238 µs so, 292 without, and 16384 x 8 x 96 235 and 318: 29 GB/s; 512 or 2048 the same.
"""


@word(lambda tile: TileType(tile.vector.lanes // GROUP, 1, tile.vector))
def rows_of_step(builder, result, tile):
    """The shape of the rows of B of one vector."""


@word(lambda tile: TileType(GROUP * tile.vectors, 1, tile.vector))
def columns_of_step(builder, result, tile):
    """The shape whose rows are the columns of B of all vectors of ``tile``."""


@word(lambda tile: TileType(tile.rows, 1, tile.vector))
def joined(builder, result, tile):
    """The shape of what ``join_steps`` makes: the columns side by side."""


def _shuffled(builder, first, second, order):
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(INT32, len(order)), order))


def _first_steps(builder, vector, pointer, count):
    """As many elements at ``pointer`` as a vector has steps, zero from ``count`` on."""
    steps = ir.VectorType(vector.element, vector.count // GROUP)
    return load_masked(builder, steps, pointer, first_lanes(builder, count, steps.count))


@word(lambda tile, rows: Sums(TileType(1, tile.vectors, tile.vector)) if isinstance(rows, Sums) else None)
def steps_of_rows(builder, result, tile, rows):
    """A row of the panel, of as many rows of B as a vector has steps."""
    steps, lanes = rows.type.count, result.element.element.count
    line = ir.Constant(result, ir.Undefined)
    for j in range(result.element.count):
        vector = ir.Constant(result.element.element, ir.Undefined)
        for step in range(steps):
            order = [lanes + j * GROUP + lane // steps if lane % steps == step else lane for lane in range(lanes)]
            vector = _shuffled(builder, vector, builder.extract_value(rows, [step, 0]), order)
        line = builder.insert_value(line, vector, [0, j])
    return line


@word(lambda tile, columns, count: Sums(TileType(1, tile.vectors, tile.vector)) if isinstance(columns, Rows) else None)
def steps_of_columns(builder, result, tile, columns, count):
    """A row of the panel, of columns of B with an address each, zero from ``count`` on."""
    vector, line = result.element.element, ir.Constant(result, ir.Undefined)
    steps, lanes = vector.count // GROUP, vector.count
    for j in range(result.element.count):
        joined = ir.Constant(vector, ir.Undefined)
        for c in range(GROUP):
            own = _first_steps(builder, vector, builder.extract_value(columns, j * GROUP + c), count)
            widened = _shuffled(builder, own, own, [lane % steps for lane in range(lanes)])
            joined = _shuffled(builder, joined, widened, [lanes + n if n // steps == c else n for n in range(lanes)])
        line = builder.insert_value(line, joined, [0, j])
    return line


def _add(builder, total, factors, b):
    """total + the products with ``factors(i)``, the steps of row i of A."""
    vector = total.type.element.element
    row = [load_vector(builder, vector, builder.extract_value(b, [0, j])) for j in range(total.type.element.count)]
    for i in range(total.type.count):
        own = factors(i)
        repeated = _shuffled(builder, own, own, [lane % own.type.count for lane in range(vector.count)])
        for j, other in enumerate(row):
            added = fused_multiply_add(builder, repeated, other, builder.extract_value(total, [i, j]))
            total = builder.insert_value(total, added, [i, j])
    return total


def _total(total, rows, b, *_):
    return total if isinstance(total, Sums) and isinstance(rows, Rows) and isinstance(b, Columns) else None


@word(_total)
def add_steps(builder, result, total, rows, b):
    """total + the rows of A, at these steps, times the row ``b`` of the panel."""
    vector = result.element.element
    steps = ir.VectorType(vector.element, vector.count // GROUP)
    return _add(builder, total, lambda i: load_vector(builder, steps, builder.extract_value(rows, i)), b)


@word(_total)
def add_first_steps(builder, result, total, rows, b, count):
    """``add_steps``, of which only the first ``count`` exist."""
    vector = result.element.element
    return _add(builder, total, lambda i: _first_steps(builder, vector, builder.extract_value(rows, i), count), b)


def _sums_of_steps(builder, vectors):
    """Of ``steps`` vectors one: lane c * steps + i is the sum over the steps of column c of vector i.

    In each round the halves of the steps are added, of two vectors at once: log2(steps) rounds, as in ``transpose``.
    """
    steps, lanes = len(vectors), vectors[0].type.count
    half = steps // 2
    while half:
        kept = [step for step in range(steps) if not step & half]
        first = [which * lanes + c * steps + step for c in range(GROUP) for which in (0, 1) for step in kept]
        second = [lane + half for lane in first]
        vectors = [
            builder.fadd(_shuffled(builder, *pair, first), _shuffled(builder, *pair, second))
            for pair in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        half //= 2
    return vectors[0]


@word(lambda total: Sums(TileType(total.tile.rows, 1, total.tile.vector)) if isinstance(total, Sums) else None)
def join_steps(builder, result, total):
    """The sums over the steps, with the columns of a row side by side; the lanes after the last column are undefined."""
    vectors, lanes = total.type.element.count, result.element.element.count
    steps = lanes // GROUP
    joined = ir.Constant(result, ir.Undefined)
    for first in range(0, result.count, steps):
        rows = [ir.Constant(result.element.element, ir.Undefined)] * steps
        for j in range(vectors):
            sums = _sums_of_steps(builder, [builder.extract_value(total, [first + row, j]) for row in range(steps)])
            for row in range(steps):
                order = [lanes + lane % GROUP * steps + row if lane // GROUP == j else lane for lane in range(lanes)]
                rows[row] = _shuffled(builder, rows[row], sums, order)
        for row in range(steps):
            joined = builder.insert_value(joined, rows[row], [first + row, 0])
    return joined


@jit
def pack_steps(tile, b, along, across, count, depth, room):
    """``count`` columns of B, element (k, c) at ``b + k * along + c * across``, one of the strides being 1, in ``room``."""
    steps, line = tile.lanes // GROUP, one_row(tile)
    for k in range(0, depth, steps):
        place = block(line, room + k * (GROUP * tile.vectors), 0, 1, line.columns)
        if across == 1:
            piece = rows_of_step(tile)
            rows = load_tile(piece, block(piece, b + k * along, along, depth - k, count))
            store_tile(steps_of_rows(tile, rows), place)
        else:
            columns = rows_apart(columns_of_step(tile), b + k, across, count)
            store_tile(steps_of_columns(tile, columns, depth - k), place)


@inlined
def accumulate_steps(tile, total, rows, b, depth):
    """total + A @ B: the rows of A where they are in memory, their elements side by side, B packed by ``pack_steps``."""
    steps = tile.lanes // GROUP
    whole = depth - depth % steps
    for k in range(0, whole, steps):
        total = add_steps(total, rows + k, panel(tile, b + k * (GROUP * tile.vectors)))
    if whole < depth:
        total = add_first_steps(total, rows + whole, panel(tile, b + whole * (GROUP * tile.vectors)), depth - whole)
    return total


@inlined
def accumulate_steps_ahead(tile, total, rows, b, depth, ahead):
    """``accumulate_steps``, while as much as is read of A comes nearer, from ``ahead`` on."""
    steps = tile.lanes // GROUP
    whole = depth - depth % steps
    for k in range(0, whole, steps):
        for i in range(0, steps * tile.rows, tile.lanes):
            prefetch(ahead + (k * tile.rows + i))
        total = add_steps(total, rows + k, panel(tile, b + k * (GROUP * tile.vectors)))
    return accumulate_steps(tile, total, rows + whole, b + whole * (GROUP * tile.vectors), depth - whole)
