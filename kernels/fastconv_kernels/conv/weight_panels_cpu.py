"""Panels of the operands of the gradient of the weight, copied pixel by pixel (NHWC).

A panel has some channels of every pixel of a block side by side: columns of the gradient, or the rows of a tile of the weight,
which are channels of the image as one tap of the window meets them.
"""

from ..cpu.compile import inlined, jit
from ..cpu.simd import load_first, prefetch, store

AHEAD = 8
"""How many pixels before it is copied one is brought nearer."""


@inlined
def copy_ahead(tile, source, distance, count, target):
    """target[0:count] = source[0:count], and up to a vector more is written; what comes ``distance`` later is brought nearer.

    Whole vectors are loaded without a mask: behind masks this machine's prefetcher stands still.
    """
    whole = count // tile.lanes * tile.lanes
    for i in range(0, whole, tile.lanes):
        prefetch(source + (distance + i))
        store(target + i, load_first(source + i, tile.lanes))
    if whole < count:
        prefetch(source + (distance + whole))
        store(target + whole, load_first(source + whole, count - whole))


@inlined
def pack_columns(tile, source, pitch, columns, count, packed):
    """A panel of ``tile.columns`` columns: packed[p, column] for ``count`` pixels p; unspecified beyond ``columns``."""
    for p in range(count):
        copy_ahead(tile, source + p * pitch, AHEAD * pitch, columns, packed + p * tile.columns)


@inlined
def copy_panels(tile, source, channels, distance, panel, target):
    """target[t * panel + row] = source[t * rows + row] for some channels; what comes ``distance`` later is brought nearer."""
    reach = (tile.rows + tile.lanes - 1) // tile.lanes * tile.lanes
    whole = max(0, channels - reach + tile.rows) // tile.rows * tile.rows
    for c in range(0, whole, tile.rows):
        prefetch(source + (c + distance))
        for i in range(0, tile.rows, tile.lanes):
            store(target + i, load_first(source + (c + i), tile.lanes))
        target = target + panel
    for c in range(whole, channels, tile.rows):
        prefetch(source + (c + distance))
        for i in range(0, tile.rows, tile.lanes):
            store(target + i, load_first(source + (c + i), channels - c - i))
        target = target + panel


@jit
def copy_rows(tile, tables, piece, channels, pixels, source, image, target):
    """Panels of the rows of a piece of the weight: some channels of the image for each tap, target[tile, pixel, row].

    tables: sources, taps, tiles; piece: tiles from, to; pixels: (images, first row, rows, pixels of an image, of all)
    """
    sources, places, taps, tiles = tables
    t, end_tile = piece
    images, top, rows, image_pixels, panel_size = pixels
    while t < end_tile:
        tap, channel = tiles[t, 0], tiles[t, 1]
        offset, begin, line, low, high = taps[tap]
        whole = min((channels - channel + tile.rows - 1) // tile.rows, end_tile - t)
        width = min(channels - channel, whole * tile.rows)
        end = begin + max(0, min(high - top, rows)) * line
        begin += max(0, low - top) * line
        for n in range(images):
            for p in range(begin, end):
                later = sources[min(p + AHEAD, end - 1)] - sources[p]
                pixel = source + (n * image + offset + channel + sources[p])
                place = target + ((t - piece[0]) * panel_size + n * image_pixels * tile.rows + places[p])
                copy_panels(tile, pixel, width, later, panel_size, place)
        t += whole


@inlined
def asked_in(begin, end, whole, steps, later):
    """What ``begin`` … ``end`` of ``whole`` through a block, one pass of ``steps``, asks for: lines, side, the first of them.

    later: (pixels, elements of a line or 0, the image's side, the gradient's), of each (pointer, table of pixels, its unit,
    elements of a pixel).  Each line is asked for once, in the order of memory and evenly: so a processor whose caches are far
    brings most.
    """
    pixels, line, image, gradient = later
    if pixels == 0 or line == 0:
        return 0, (*image, line), 0, 0
    lines, others = (image[3] + line - 1) // line, (gradient[3] + line - 1) // line
    first, last = (lines + others) * pixels * begin // whole, (lines + others) * pixels * end // whole
    side, count = image, pixels * lines
    if first >= count:
        first, last, count, lines, side = first - count, last - count, pixels * others, others, gradient
    return min(last - first, count - first, steps), (*side, line), first // lines, first % lines * line


@inlined
def coming(gradients, table, block, columns, plane):
    """The gradient's side of what ``asked_in`` asks for, after how many of its pixels: in planes of columns, runs of pixels.

    gradients: of an image; table: of the pixels of a block; block: (first row, rows of the image, pixels of a row, most rows
    of a block); columns: (first, some, all)
    """
    top, rows, row, most = block
    pixels = min(most, rows - top) * row
    if plane:
        return min(columns[1], most * row), (gradients + (columns[0] * plane + top * row), table, plane, pixels)
    return pixels, (gradients + (top * row * columns[2] + columns[0]), table, columns[2], columns[1])


@inlined
def line_after(pixel, offset, side):
    """The line after the one ``offset`` elements behind a pixel's first."""
    if offset + side[4] < side[3]:
        return pixel, offset + side[4]
    return pixel + 1, 0
