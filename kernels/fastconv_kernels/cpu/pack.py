"""Packing: a strip of a matrix copied to the order in which the tile loop reads it.

A *panel* is ``width`` rows (of A) or columns (of B), ``depth`` long, stored as ``panel[k, i]`` with i running fastest.  The
tile loop then walks through memory with stride one, whatever the order of the matrix was, and the panel stays in the cache.
"""

from llvmlite import ir

from .compile import inlined
from .emit import INT32
from .places import block
from .simd import load_first, prefetch, store, word
from .tile import Sums, TileType, load_tile, store_tile


@word(lambda tile: TileType(tile.vector.lanes, 1, tile.vector))
def square(builder, result, tile):
    """The shape of a block of as many rows as a vector has lanes: what can be transposed in registers."""


def square_sums(total):
    """The type of ``total`` if it can be transposed."""
    return total if isinstance(total, Sums) and (total.tile.rows, total.tile.vectors) == (total.tile.vector.lanes, 1) else None


@word(square_sums)
def transpose(builder, result, total):
    """Rows become columns: log2(lanes) rounds, each exchanging the off-diagonal quarters of 2d x 2d blocks."""
    lanes = result.count
    rows = [builder.extract_value(total, [i, 0]) for i in range(lanes)]
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
    for i in range(lanes):
        total = builder.insert_value(total, rows[i], [i, 0])
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
    """panel[k, i] = source[i * across + k]: transpose square blocks in registers on the way."""
    piece = square(tile)
    for k in range(0, depth, tile.lanes):
        for i in range(0, width, tile.lanes):
            rows = load_tile(piece, block(piece, source + (i * across + k), across, count - i, depth - k))
            store_tile(transpose(rows), block(piece, panel + (k * width + i), width, depth - k, width - i))
