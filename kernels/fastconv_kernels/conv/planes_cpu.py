"""Images of planes, NCHW, brought to channels last and back a band at a time, while it is in the caches.

A kernel with lanes over channels wants the channels of a pixel side by side.  Square blocks of a band are transposed in
registers on their way into its frame, and those of the result on their way out: the images as a whole are never converted.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.pack import colours, in_line, interleave, square, transpose
from ..cpu.places import block
from ..cpu.share import share, stripe
from ..cpu.simd import load_alternate, prefetch, store_first
from ..cpu.tile import add_tile, load_tile, pointer, prefetch_tile, rectify, store_tile, stream_tile
from .frame_cpu import clear, copy, copy_phase

AHEAD = 64
"""So many pixels before they are read those of all planes are asked for: the processor does not foresee so many streams."""


@jit
def gather_pixels(tile, planes, pitch, channels, count, frame, row):
    """frame[t * row + c] = planes[c * pitch + t] for ``count`` pixels."""
    piece = square(tile)
    for c in range(0, channels, tile.lanes):
        for t in range(0, count, tile.lanes):
            prefetch_tile(block(piece, planes + (c * pitch + t + AHEAD), pitch, channels - c, tile.lanes))
            rows = load_tile(piece, block(piece, planes + (c * pitch + t), pitch, channels - c, count - t))
            store_tile(transpose(rows), block(piece, frame + (t * row + c), row, count - t, channels - c))


@inlined
def gather_every_other(planes, pitch, channels, count, target, row):
    """target[c * row + t] = planes[c * pitch + 2 * t] for ``count`` pixels of a vector.

    The loop has no other in it: with a general one for each plane images from memory took four times as long.  It asks for
    nothing: what is gathered next the tiles before have asked for, and to do so again took a Granite Rapids 1.06 times as long
    (n16 c256 56x56 k512 1x1 s2).
    """
    for c in range(channels):
        store_first(target + c * row, load_alternate(planes + c * pitch, count), count)


@jit
def gather_steps(tile, planes, pitch, channels, walk, first, count, target, row):
    """target[c * row + i] = the pixel ``first + i`` of those that a 1x1 window with a stride meets in plane c.

    walk: (pixels of a row, to the next row, to the next pixel).  With more than two from pixel to pixel each row asks for the
    next, of which the tiles before leave out more lines.
    """
    columns, down, across = walk
    i = 0
    while i < count:
        line, column = (first + i) // columns, (first + i) % columns
        start, run = planes + (line * down + column * across), min(count - i, columns - column)
        if across == 2:
            for t in range(0, run, tile.lanes):
                some = min(tile.lanes, run - t)
                gather_every_other(start + 2 * t, pitch, channels, some, target + (i + t), row)
        else:
            for c in range(channels):
                for t in range(0, run * across, tile.lanes):
                    prefetch(start + (c * pitch + down + t))
                copy_phase(tile, start + c * pitch, across, run, target + (c * row + i))
        i += run


@jit
def gather_row(tile, planes, columns, pitch, channels, size, room):
    """room[f, t, c] = planes[c * pitch + f * columns + t] for a block of ``size`` (rows, columns), a vector of channels."""
    height, width = size
    channels = min(channels, tile.lanes)
    if width == columns:  # whole rows are one run of pixels
        gather_pixels(tile, planes, pitch, channels, height * columns, room, tile.lanes)
    else:
        for f in range(height):
            gather_pixels(tile, planes + f * columns, pitch, channels, width, room + f * width * tile.lanes, tile.lanes)


@jit
def scatter_row(tile, room, columns, pitch, channels, size, epilogue, planes):
    """The reverse of ``gather_row``, with the epilogue of ``scatter_pixels``."""
    height, width = size
    addend, adds, rectifies = epilogue
    channels = min(channels, tile.lanes)
    if width == columns:
        scatter_pixels(tile, room, tile.lanes, height * columns, channels, pitch, epilogue, planes)
    else:
        for f in range(height):
            own, place = (addend + f * columns, adds, rectifies), planes + f * columns
            scatter_pixels(tile, room + f * width * tile.lanes, tile.lanes, width, channels, pitch, own, place)


@jit
def stream_row(tile, room, columns, pitch, size, epilogue, planes):
    """``scatter_row`` past the caches, as many channels as a vector has lanes: whole vectors that start on lines of memory."""
    height, width = size
    addend, adds, rectifies = epilogue
    piece, lanes = square(tile), tile.lanes
    if width == columns:  # whole rows are one run of pixels
        height, width = 1, height * columns
    for f in range(height):
        for t in range(0, width, lanes):
            place = f * columns + t
            total = transpose(load_tile(piece, block(piece, room + (f * width + t) * lanes, lanes, lanes, lanes)))
            if adds:
                total = add_tile(total, load_tile(piece, block(piece, addend + place, pitch, lanes, lanes)))
            if rectifies:
                total = rectify(total)
            stream_tile(total, block(piece, planes + place, pitch, lanes, lanes))


@jit
def interleave_colours(tile, planes, pitch, count, frame):
    """``gather_pixels`` of three planes, side by side: of a square block of them all but three rows would be empty."""
    piece = colours(tile)
    line = in_line(piece)
    for t in range(0, count, tile.lanes):
        pixels = interleave(load_tile(piece, block(piece, planes + t, pitch, piece.rows, count - t)))
        store_tile(pixels, block(line, frame + t * piece.rows, 0, 1, (count - t) * piece.rows))


@jit
def frame_planes(tile, image, extent, top, left, height, width, frame):
    """frame[f, t, c] = image[c, top + f, left + t] where that is a pixel, else 0, for ``height`` x ``width`` pixels.

    extent: (rows, columns, channels) of ``image``.  Columns outside the image are zero in the frame already and stay so.
    """
    rows, columns, channels = extent
    first, pitch, plane = max(0, -left), width * channels, rows * columns
    count = min(width - first, columns - max(0, left))
    begin, end = min(height, max(0, -top)), max(0, min(height, rows - top))
    clear(tile, frame, begin * pitch)
    clear(tile, frame + end * pitch, (height - end) * pitch)
    lines, run = end - begin, count
    if count == width == columns:  # whole rows are side by side in the frame too
        lines, run = min(1, lines), lines * count
    for f in range(begin, begin + lines):
        source, target = image + ((top + f) * columns + max(0, left)), frame + (f * pitch + first * channels)
        if channels == 3:
            interleave_colours(tile, source, plane, run, target)
        else:
            gather_pixels(tile, source, plane, channels, run, target, channels)


@jit
def scatter_pixels(tile, pixels, row, count, channels, pitch, epilogue, planes):
    """planes[c * pitch + t] = pixels[t * row + c], with its addend and ReLU, for ``count`` pixels.

    epilogue: (addend in planes, adds, rectifies)
    """
    addend, adds, rectifies = epilogue
    piece = square(tile)
    for c in range(0, channels, tile.lanes):
        for t in range(0, count, tile.lanes):
            total = transpose(load_tile(piece, block(piece, pixels + (t * row + c), row, count - t, channels - c)))
            place = c * pitch + t
            if adds:
                total = add_tile(total, load_tile(piece, block(piece, addend + place, pitch, channels - c, count - t)))
            if rectifies:
                total = rectify(total)
            store_tile(total, block(piece, planes + place, pitch, channels - c, count - t))


@threaded
def turn_weight(tile, weight, turned, shape, threads):
    """turned[k, c, tap] = weight[tap, c, k], both a line; shape: (taps, C, K)."""
    for thread in prange(threads):
        taps, channels, width = shape
        source, target = pointer(tile, weight, 0), pointer(tile, turned, 0)
        first, end = share(thread, threads, channels)
        for c in range(first, end):
            epilogue, place = (target, False, False), target + c * taps
            scatter_pixels(tile, source + c * width, channels * width, taps, width, channels * taps, epilogue, place)


@threaded
def turn_strips(tile, weight, shape, rooms, threads):
    """weight[k, c, tap], where it was weight[k // lanes, c, tap, k % lanes]: of ``lanes`` output channels strip by strip.

    In one as in the other these have a room of their own, so that nothing is needed but a copy of it.

    weight: a line; shape: (taps, C, K); rooms: for a strip, a row for each thread
    """
    for thread in prange(threads):
        taps, channels, width = shape
        lanes, depth, room = tile.lanes, taps * channels, pointer(tile, rooms, np.intp(thread) * rooms.shape[1])
        first, end = stripe(thread, threads, width, lanes)
        for k in range(first, end, lanes):
            count, strip = min(lanes, width - k), pointer(tile, weight, k * depth)
            copy(tile, strip, room, count * depth)
            scatter_pixels(tile, room, count, depth, count, depth, (strip, False, False), strip)
