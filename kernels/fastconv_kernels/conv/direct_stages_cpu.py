"""Direct convolution of planes in their frame: strips of pixels times tiles of channels, and what is put in order for it."""

from ..cpu.compile import inlined, jit, serial
from ..cpu.pack import pack, square, transpose
from ..cpu.places import block, panel_at, strips
from ..cpu.simd import entry, prefetch
from ..cpu.tile import finish, load_tile, pointer, rank1, spread_rows, store_tile


@inlined
def ask_for_turn(tile, what, turn):
    """Ask for the elements of every run that are tile number ``turn``'s: few at a time, evenly.

    what: (place, runs, from one to the next, elements of each, elements of each that a tile asks for)
    """
    place, runs, pitch, size, some = what
    for t in range(turn * some, min(size - tile.lanes + 1, (turn + 1) * some), tile.lanes):
        for number in range(runs):
            prefetch(place + (number * pitch + t))


@jit
def convolve_strips(tile, panels, tables, shape, framed, epilogue, first, end, out, ahead):
    """The strips ``first`` … ``end`` of one image and group: for each tile of output channels the sum over (c, r, s).

    tables: offsets (depth,) and places (strips, 3, vectors); panels, framed, out: pointers
    shape: (K / groups, pixels, strips of a run, all of which a tile of channels meets before the next does)
    epilogue: (bias of all tiles, residual, adds, rectifies, streams)
    ahead: what comes next, see ``ask_for_turn``: planes, results; how many tiles ask for it
    """
    offsets, places = pointer(tile, tables[0], 0), tables[1]
    width, pixels, run = shape
    bias, residual, adds, rectifies, streams = epilogue
    depth, mr, last = tables[0].size, tile.rows, places.shape[0]
    (planes, results, asking), turn = ahead, 0
    for start in range(first, end, run):
        for i in range(0, width, mr):
            a = panels + i * depth
            for strip in range(start, min(end, start + run)):
                if turn < asking:  # most tiles ask for nothing, or no longer
                    ask_for_turn(tile, planes, turn)
                    ask_for_turn(tile, results, turn)
                    turn += 1
                starts = pointer(tile, places, strip * 3 * tile.vectors)
                targets, counts = starts + tile.vectors, starts + 2 * tile.vectors
                b = panel_at(tile, framed, starts)  # lanes that do not exist read what comes behind
                total = spread_rows(tile, bias + i)
                for k in range(depth):
                    total = rank1(total, a + k * mr, b + entry(offsets, k))
                place = strips(tile, out + i * pixels, pixels, width - i, targets, counts)
                other = strips(tile, residual + i * pixels, pixels, width - i, targets, counts)
                finish(tile, total, place, other, (adds, rectifies, streams and width - i >= mr and strip + 1 < last))


@serial
def pack_weights(tile, weight, strides, groups, width, depth, panels):
    """panels[g, i, depth, row] = weight[g * width + i * rows + row, depth]; strides: (row, depth) of ``weight``."""
    tiles = (width + tile.rows - 1) // tile.rows
    for g in range(groups):
        for i in range(tiles):
            source = pointer(tile, weight, (g * width + i * tile.rows) * strides[0])
            target = pointer(tile, panels, (g * tiles + i) * depth * tile.rows)
            pack(tile, tile.rows, source, strides[0], strides[1], min(tile.rows, width - i * tile.rows), depth, target)


@jit
def turn(tile, source, pitch, rows, columns, target, target_pitch):
    """target[j, i] = source[i, j] for ``rows`` x ``columns`` elements; pitches: from row to row."""
    piece = square(tile)
    for i in range(0, rows, tile.lanes):
        for j in range(0, columns, tile.lanes):
            part = load_tile(piece, block(piece, source + (i * pitch + j), pitch, rows - i, columns - j))
            place = block(piece, target + (j * target_pitch + i), target_pitch, columns - j, rows - i)
            store_tile(transpose(part), place)
