"""Packing: a strip of a matrix copied to the order in which the tile loop reads it.

A *panel* is ``width`` rows (of A) or columns (of B), ``depth`` long, stored as ``panel[k, i]`` with i running fastest.  The
tile loop then walks through memory with stride one, whatever the order of the matrix was, and the panel stays in the cache.
"""

from llvmlite import ir

from .compile import inlined, jit
from .emit import INT32
from .places import block
from .simd import load_first, prefetch, store, store_first, word
from .tile import Sums, TileType, load_tile, store_tile


@word(lambda tile: TileType(min(tile.rows, tile.vector.lanes), 1, tile.vector))
def strip(builder, result, tile):
    """The shape of a block one vector wide with the rows of ``tile``, at most as many as a vector has lanes."""


@word(lambda tile: TileType(tile.vector.lanes, 1, tile.vector))
def square(builder, result, tile):
    """The shape of a block of as many rows as a vector has lanes."""


@word(lambda tile: TileType(1, tile.vectors, tile.vector))
def one_row(builder, result, tile):
    """The shape of one row of ``tile``."""


@word(lambda tile: TileType(2, 1, tile.vector))
def pair(builder, result, tile):
    """The shape of a vector of each of two phases."""


@word(lambda tile: TileType(3, 1, tile.vector))
def colours(builder, result, tile):
    """The shape of a vector of each of three planes, which images that come from outside have."""


def turned(total):
    """The type of the transpose of ``total``, a square; None if that cannot be formed in registers."""
    if not isinstance(total, Sums) or total.tile.vectors != 1 or total.tile.rows > total.tile.vector.lanes:
        return None
    return Sums(TileType(total.tile.vector.lanes, 1, total.tile.vector))


@word(turned)
def transpose(builder, result, total):
    """Rows become columns: log2(lanes) rounds, each exchanging the off-diagonal quarters of 2d x 2d blocks.

    Of fewer rows than lanes the rest is zero, which LLVM knows: four rows take a third of the instructions of sixteen.
    """
    lanes = result.count
    nothing = ir.Constant(result.element.element, None)
    rows = [builder.extract_value(total, [i, 0]) if i < total.type.count else nothing for i in range(lanes)]
    distance = 1
    while distance < lanes:
        # Lane l of the upper row of a pair comes from itself or from the lower row (numbers >= lanes), d lanes back.
        upper = [lane if not lane & distance else lanes + lane - distance for lane in range(lanes)]
        lower = [lane + distance if not lane & distance else lanes + lane for lane in range(lanes)]
        for i in range(lanes):
            if not i & distance:
                pair = rows[i], rows[i + distance]
                for row, order in ((i, upper), (i + distance, lower)):
                    rows[row] = builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(INT32, lanes), order))
        distance *= 2
    square = ir.Constant(result, ir.Undefined)
    for i in range(lanes):
        square = builder.insert_value(square, rows[i], [i, 0])
    return square


def across_type(total):
    return Sums(TileType(1, 1, total.tile.vector)) if turned(total) else None


@word(across_type)
def add_across(builder, result, total):
    """The sums of the lanes of each row, one after the other; lanes that no row has are unspecified.

    A round exchanges as ``transpose`` does, and then adds: each has half as many rows as the one before, 30 shuffles of 16.
    """
    lanes = result.element.element.count
    rows = [builder.extract_value(total, [i, 0]) for i in range(total.type.count)]
    distance = 1
    while distance < lanes:
        upper = [lane if not lane & distance else lanes + lane - distance for lane in range(lanes)]
        lower = [lane + distance if not lane & distance else lanes + lane for lane in range(lanes)]
        orders, halved = [ir.Constant(ir.VectorType(INT32, lanes), order) for order in (upper, lower)], []
        for i in range(0, len(rows), 2):
            pair = rows[i], rows[min(i + 1, len(rows) - 1)]
            halved.append(builder.fadd(*(builder.shuffle_vector(*pair, order) for order in orders)))
        rows, distance = halved, distance * 2
    line = ir.Constant(result, ir.Undefined)
    return builder.insert_value(line, rows[0], [0, 0])


def _permuted(builder, vectors, origin):
    """As many vectors as ``vectors``: element e of all, one after the other, is their element ``origin(e)``."""
    lanes, permuted = vectors[0].type.count, []
    for number in range(len(vectors)):
        sources = [divmod(origin(number * lanes + lane), lanes) for lane in range(lanes)]
        vector = ir.Constant(vectors[0].type, ir.Undefined)
        for source, other in enumerate(vectors):
            order = [lanes + lane if which == source else place for place, (which, lane) in enumerate(sources)]
            vector = builder.shuffle_vector(vector, other, ir.Constant(ir.VectorType(INT32, lanes), order))
        permuted.append(vector)
    return permuted


@word(lambda tile: TileType(1, tile.rows, tile.vector))
def in_line(builder, result, tile):
    """The shape of the rows of ``tile``, each a vector, interleaved: one row."""


@word(lambda total: Sums(TileType(1, total.tile.rows, total.tile.vector)) if total.tile.vectors == 1 else None)
def interleave(builder, result, total):
    """The columns of ``total`` one after the other: element (row, column) comes to column * rows + row."""
    rows, lanes = total.type.count, total.type.element.element.count
    vectors = [builder.extract_value(total, [row, 0]) for row in range(rows)]
    line = ir.Constant(result, ir.Undefined)
    for j, vector in enumerate(_permuted(builder, vectors, lambda element: element % rows * lanes + element // rows)):
        line = builder.insert_value(line, vector, [0, j])
    return line


@word(lambda line: Sums(TileType(line.tile.vectors, 1, line.tile.vector)) if line.tile.rows == 1 else None)
def part(builder, result, line):
    """The inverse of ``interleave``."""
    rows, lanes = result.count, result.element.element.count
    vectors = [builder.extract_value(line, [0, j]) for j in range(rows)]
    total = ir.Constant(result, ir.Undefined)
    for row, vector in enumerate(_permuted(builder, vectors, lambda element: element % lanes * rows + element // lanes)):
        total = builder.insert_value(total, vector, [row, 0])
    return total


@inlined
def pack(tile, width, source, across, along, count, depth, panel):
    """panel[k, i] = source[i * across + k * along] for i < count <= width, k < depth.

    What lies between ``count`` and ``width`` is unspecified: it meets only sums that are never stored.  The last k may
    spill one vector beyond the panel.
    """
    if across == 1:
        pack_straight(tile, width, source, along, count, depth, panel)
    elif along == 1:
        pack_transposed(tile, width, source, across, count, depth, panel)
    else:
        for k in range(depth):
            for i in range(width):
                panel[k * width + i] = source[min(i, count - 1) * across + k * along]


@inlined
def pack_straight(tile, width, source, along, count, depth, panel):
    """panel[k, i] = source[k * along + i]: memory is already in the panel's order.

    Whole vectors are stored, which is faster than a part: one may reach into the next k, which is written afterwards.
    """
    for k in range(depth):
        for i in range(0, width, tile.lanes):
            if width > tile.lanes:  # a narrower panel has read the line on which the next one begins
                prefetch(source + (k * along + i + width))  # the same k of the next panel
            store(panel + (k * width + i), load_first(source + (k * along + i), count - i))


@inlined
def pack_transposed(tile, width, source, across, count, depth, panel):
    """panel[k, i] = source[i * across + k]: transpose blocks in registers on the way."""
    if width == tile.rows:
        transpose_blocks(square(tile), strip(tile), width, source, across, count, depth, panel)
    else:
        transpose_blocks(square(tile), square(tile), width, source, across, count, depth, panel)


@jit
def transpose_blocks(whole, piece, width, source, across, count, depth, panel):
    """``pack_transposed``, in blocks of the shape ``piece``, whose transposes have the shape ``whole``: tiles share it."""
    for k in range(0, depth, whole.lanes):
        for i in range(0, width, piece.rows):
            rows = load_tile(piece, block(piece, source + (i * across + k), across, count - i, depth - k))
            columns = block(whole, panel + (k * width + i), width, depth - k, min(piece.rows, width - i))
            store_tile(transpose(rows), columns)


@jit
def turn_rows(tile, a, along, count, depth, pitch, room):
    """``count`` rows of a matrix that is there as its transpose, ``depth`` long, ``pitch`` apart in ``room``."""
    transpose_blocks(square(tile), square(tile), pitch, a, along, depth, count, room)


@jit
def pack_side_by_side(tile, source, along, count, depth, panels):
    """Panels of ``tile.rows`` rows, one after another: panels[i // rows, k, i % rows] = source[k * along + i] for i < count.

    A line of memory is read once for all of them, where panel after panel would come back to it for each.
    """
    for k in range(depth):
        for i in range(0, count, tile.rows):
            place = panels + (i * depth + k * tile.rows)
            for row in range(0, tile.rows, tile.lanes):
                some = min(tile.rows - row, count - i - row)
                store_first(place + row, load_first(source + (k * along + i + row), some), some)
