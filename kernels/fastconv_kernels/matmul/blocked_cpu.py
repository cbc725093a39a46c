"""Matrix product by blocks: the five loops of Goto and BLIS around a tile of registers.

    for jc in N by nc        B's block (kc x nc) is shared by all of A:                   level-3 cache
      for pc in K by kc      C is read and written once for each kc
        for ic in M by mc    A's block (mc x kc) meets every panel of B:                  level-2 cache
          for jr in nc by nr   one panel of B (kc x nr) meets every panel of A:           level-2 cache
            for ir in mc by mr   the tile:                                                registers

Only B is packed, by the first tiles that meet it, on the way: a pass of its own took 5 to 10% of the time of products with 64
to 256 rows.  A tile has few rows, which are read side by side where they are, each a stream: to pack A too took 2 to 3% of the
time of large cubes.  What is there as its transpose is turned, block by block.  The last columns have a tile of as few vectors
as they need.  A C that only a far cache would hold is written past the caches.

Sources: Goto & van de Geijn 2008; Van Zee & van de Geijn 2015; Low et al., "Analytical Modeling Is Enough for
High-Performance BLIS", 2016, for the block sizes.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ..cpu.accumulate import UNROLLED, accumulate_packing, accumulate_rows_ahead
from ..cpu.compile import inlined, jit, threaded
from ..cpu.pack import turn_rows
from ..cpu.places import block, columns, rows_apart
from ..cpu.tile import add_tile, fitting, load_tile, prefetch_tile, rectify, spread_columns, store_tile, stream_tile, streamed
from ..cpu.workspace import caches, even, far_caches
from .operands import (
    PACKING,
    PASSING,
    Epilogue,
    Matrix,
    Product,
    at,
    begin,
    beyond,
    buffer,
    facts_at,
    finish,
    matrices,
    of_product,
    part,
    products_of,
)

TILES = (6, 4), (8, 3), (6, 2)
"""(rows, vectors) whose panels keep both multipliers busy, for 32 and for 16 registers."""


class Fresh(NamedTuple):
    """A panel of B in memory, its rows ``row`` apart; ``here``: whether it is to be packed, and not a transpose."""

    start: Any
    row: int
    here: bool


@jit
def multiply(tile, last, blocks, past, shape, a, b, c, epilogue, a_block, b_block):
    """C = epilogue(A @ B) for one thread: ``shape`` is (M, N, K); ``a_block`` and ``b_block`` are the packing buffers.

    last : the tile of the last columns where they need fewer vectors than ``tile`` has, or None
    past : whether C goes past the caches; K is then not cut
    """
    M, N, K = shape
    MC, KC, NC = blocks
    nr = tile.columns
    for jc in range(0, N, NC):
        nc = min(NC, N - jc)
        for pc in range(0, max(1, K), KC):  # once for K = 0 too: a product of nothing is bias and addend
            kc = min(KC, K - pc)
            for ic in range(0, M, MC):
                mc, near = min(MC, M - ic), Matrix(at(a, ic, pc), a.row, 1)
                if a.column != 1:
                    near = Matrix(a_block, KC, 1)
                    for ir in range(0, mc, tile.lanes):
                        turn_rows(tile, at(a, ic + ir, pc), a.column, min(tile.lanes, mc - ir), kc, KC, at(near, ir, 0))
                for jr in range(0, nc, nr):
                    # Packed just before or on its first use, a panel is still near when the tiles read it.  If A is a
                    # single block no panel is used twice, and all can take the same place.
                    packed = b_block + (jr * kc if M > MC else 0)
                    fresh = Fresh(at(b, pc, jc + jr), b.row, ic == 0 and b.column == 1)
                    if ic == 0 and b.column != 1:
                        width = nr if last is None or nc - jr >= nr else last.columns
                        turn_rows(tile, fresh.start, b.column, kc, min(nr, nc - jr), width, packed)
                    # The last panel is followed by the first, which the next block of A meets.
                    following = b_block if jr + nr >= nc else packed + nr * kc
                    if M <= MC and b.row == N and pc + kc < K:  # no panel is met again: a part of the next slice of B
                        following = at(b, pc + kc, 0) + jr * kc
                    ends, bounds = (pc == 0, pc + kc == K), (ic, mc, jc + jr, N, kc)
                    if last is None or nc - jr >= nr:
                        meet(tile, past, bounds, ends, near, fresh, packed, following, c, epilogue)
                    else:
                        meet(last, past, bounds, ends, near, fresh, packed, following, c, epilogue)


@inlined
def meet(tile, past, bounds, ends, a, fresh, packed, following, c, epilogue):
    """A block of A with a panel of B: rows from ``top`` on, columns from ``left`` on, the first and the last of K or not.

    A panel that is still where ``fresh`` says is packed by the first tile.  Meanwhile each other asks for a piece of the panel
    that follows; after the last piece for that one again.
    """
    top, height, left, N, kc = bounds
    first, last = ends
    piece, last_piece = kc // UNROLLED * tile.lanes, UNROLLED * tile.vectors - 1
    bias = columns(tile, epilogue.bias + left, N - left if first else 0)
    for ir in range(0, height, tile.rows):
        rows, count = height - ir, N - left
        place = block(tile, at(c, top + ir, left), c.row, rows, count)
        streams = past and rows >= tile.rows and count >= tile.columns
        if not streams:
            prefetch_tile(place)
        ahead = following + min(ir // tile.rows, last_piece) * piece
        own = rows_apart(tile, at(a, ir, 0), a.row, rows)
        total = spread_columns(tile, bias)
        if fresh.here and ir == 0:
            total = accumulate_packing(tile, total, own, fresh.start, fresh.row, count, kc, packed)
        else:
            total = accumulate_rows_ahead(tile, total, own, packed, kc, ahead)
        if not first:  # what the slices of K before this one have summed
            total = add_tile(total, load_tile(tile, place))
        total = begin(tile, total, epilogue, first, top + ir, left, rows, count)
        if streams:
            stream_tile(rectify(total) if epilogue.rectifies else total, place)
        elif last:
            finish(total, epilogue, place)
        else:
            store_tile(total, place)


@jit
def part_of(tile, last, blocks, past, shape, table, buffers, located, epilogue, thread, threads):
    """What thread ``thread`` of ``threads`` does of all products."""
    start, end, cut, cuts = products_of(thread, threads, table[1])
    top, bottom, left, right = part(tile, shape, PACKING if located[1].column != 1 else PASSING, cut, cuts)
    a_block, b_block = buffer(tile, buffers[0], thread), buffer(tile, buffers[1], thread)
    for product in range(start, end):
        a, b, c, addend = of_product(tile, located, table, product, shape)
        own = Epilogue(located[4] + left, beyond(addend, top, left), epilogue[0], epilogue[1])
        size = bottom - top, right - left, shape[2]
        a, b, c = beyond(a, top, 0), beyond(b, 0, left), beyond(c, top, left)
        multiply(tile, last, blocks, past, size, a, b, c, own, a_block, b_block)
    if past:
        streamed(tile)


@threaded
def forward(machinery, operands, epilogue, threads):
    tile, (last, blocks, line), facts = machinery
    past = line > 0 and operands[2].address % line == 0
    for thread in prange(threads):
        shape, table, a_blocks, b_blocks = facts_at(tile, facts)
        located, buffers = matrices(tile, operands, shape[1]), (a_blocks, b_blocks)  # a parallel loop takes no tuple of tuples
        part_of(tile, last, blocks, past, shape, table, buffers, located, epilogue, np.intp(thread), threads)


class BlockedMatmul(Product):
    """A plan: the tiles, the block sizes and the packing buffers for products of one shape."""

    run = forward

    def __init__(self, problem, threads=1, tile=None):
        tile = tile or fitting(TILES, max(1, problem.N), problem.dtype, max(1, problem.M), narrows=True)
        last = tile.of_last(problem.N)
        last = last if tile.columns < problem.N and last.vectors < tile.vectors else None
        mc, kc, nc = blocks_for(tile, problem.M, problem.N, problem.K)
        line = tile.lanes * tile.itemsize if kc >= problem.K and goes_past(problem, tile) else 0
        super().__init__(problem, threads, tile, (last, (mc, kc, nc), line), mc * kc, nc * kc + tile.lanes)


DEEP_ENOUGH = 100
"""Steps of K that hide what it takes to write C past the caches that hold it."""


def goes_past(problem, tile):
    """Whether C is larger than a share of the third cache, a far one, and vectors fill its lines.

    What the caches have of C, which somebody has read or written before, must then leave them first: on a Granite Rapids
    1024 x 1024 x 32 took 1.02 of the time when all wrote it so, and 2.2 when it had been read; 2048 x 2048 x 32 1.0 and 1.5,
    2048 x 2048 x 128 0.86 and 0.98, 1024 x 4096 x 512 0.98 both times, 4096 x 4096 x 32 0.91 and 0.97.
    """
    size = problem.M * problem.N * tile.itemsize
    large = size > caches().level3 or (size > caches().level3 // 4 and problem.K >= DEEP_ENOUGH)
    return far_caches() and large and problem.N % tile.lanes == 0


LONGEST = 1024
"""Of K at once: C is read and written the seldomer the longer, and a tile takes as long from level 2 as from level 1.

On a Zen 5, 1024 x 1024 x 1024 ran at 79% of the FMA peak with 176, 88% with 256, 89% with 512; 2048 cubed at 71%, 83%, 85% and
88% with 688 (a tile of 6 x 4 vectors); with 1024 all from 512 x 512 x 1024 to 4096 x 4096 x 1024 took 0.96 to 0.99 times as
long as with half or two thirds of it.
"""


TILES_OF_LONG_RUNS = 4
"""Tiles of A's block if all of B stays in level 2 and C does not: C is then written in long runs, which are fetched ahead.

On a Granite Rapids 2048 x 2048 x 32 took 0.83 of the time so; 0.86 with one tile, 1 with thirty-two.
"""


def blocks_for(tile, M, N, K):
    """(mc, kc, nc): the largest blocks that the caches hold, evened out so that no last block is a sliver."""
    memory, itemsize = caches(), tile.itemsize
    kc = min(LONGEST, memory.level2 // 4 // (tile.columns * itemsize))  # a panel of B in a quarter of level 2
    kc = even(K, kc, tile.lanes)
    mc = even(M, memory.level2 // 4 // (kc * itemsize), tile.rows)  # a quarter: B's panel and C pass through too
    nc = even(N, memory.level3 // 4 // (kc * itemsize), tile.columns)  # a quarter: level 3 is shared by the cores
    if kc >= K and N * K * itemsize <= memory.level2 // 4 and M * N * itemsize > memory.level2:
        mc = min(mc, TILES_OF_LONG_RUNS * tile.rows)
    return mc, kc, nc
