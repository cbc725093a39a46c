"""A block of the 1x1 convolution of planes: panels of pixels that come from all planes, and the tiles that multiply them."""

from typing import NamedTuple

from ..cpu.compile import inlined, jit
from ..cpu.places import between, block, columns, panel
from ..cpu.simd import prefetch
from ..cpu.tile import accumulate_packed, finish, prefetch_tile, rank1, spread_rows, store_tile
from ..cpu.tile_rows import load_row, one_row
from .planes_cpu import gather_steps


class Sizes(NamedTuple):
    """What is multiplied; all lengths in elements.

    groups, depth, width : of channels; of a group in the source and in the target
    pixels, line : of an image of the target, and of all images
    plane, columns, down, across : of the source: pixels of an image, of a row that is read, to the next row, to the next pixel
    block, blocks : pixels between two returns to a tile of weights; how many blocks
    """

    groups: int
    depth: int
    width: int
    pixels: int
    line: int
    plane: int
    columns: int
    down: int
    across: int
    block: int
    blocks: int


@inlined
def products(tile, total, rows, pitch, depth, packed, ahead):
    """total + rows of weights times a panel of pixels; a vector of pixels ``ahead`` is asked for in each of its planes."""
    for c in range(depth):
        prefetch(ahead + c * pitch)
        total = rank1(total, rows + c * tile.rows, panel(tile, packed + c * tile.columns))
    return total


@jit
def finish_across(tile, total, places, pitch, jump, ends, flags):
    """``finish`` a tile that ends an image and begins the next, ``jump`` elements further on.

    places: of the first channel in the target and the addend; pitch: from one channel to the next; ends: channels, pixels that
    end the image, all pixels
    """
    target, residual = places
    width, run, count = ends
    finish(tile, total, block(tile, target, pitch, width, run), block(tile, residual, pitch, width, run), flags)
    place = between(tile, target + jump, pitch, width, run, count)
    finish(tile, total, place, between(tile, residual + jump, pitch, width, run, count), flags)


@inlined
def source_of(sizes, j):
    """Elements from the first plane of the source to pixel ``j`` of the line."""
    n, pixel = j // sizes.pixels, j % sizes.pixels
    place = pixel // sizes.columns * sizes.down + pixel % sizes.columns * sizes.across
    return n * sizes.groups * sizes.depth * sizes.plane + place


@inlined
def first_products(tile, sizes, total, rows, source, j, run, count, packed, ahead):
    """``products`` with the pixels where they are, ``run`` from ``j`` on and the others of the next image: they are packed."""
    start, pitch = source + source_of(sizes, j), sizes.plane
    jump = (sizes.groups * sizes.depth - 1) * pitch if run < count else 0
    row, here, there = one_row(tile), columns(tile, start, run), columns(tile, start + jump, count)
    for c in range(sizes.depth):
        prefetch(ahead + c * pitch)
        pixels = load_row(tile, here + c * pitch, there + c * pitch)
        store_tile(pixels, block(row, packed + c * tile.columns, 0, 1, tile.columns))
        total = rank1(total, rows + c * tile.rows, pixels)
    return total


@jit
def gather_panel(tile, sizes, source, j, count, packed):
    """packed[c, i] = pixel ``j + i`` of plane c, for ``count`` pixels of at most two images."""
    walk, image, pixel = (sizes.columns, sizes.down, sizes.across), j // sizes.pixels, j % sizes.pixels
    step, run = sizes.groups * sizes.depth * sizes.plane, min(count, sizes.pixels - pixel)
    gather_steps(tile, source + image * step, sizes.plane, sizes.depth, walk, pixel, run, packed, tile.columns)
    there = source + (image + 1) * step
    gather_steps(tile, there, sizes.plane, sizes.depth, walk, 0, count - run, packed + run, tile.columns)


@jit
def convolve_block(tile, sizes, source, weights, epilogue, target, stretch, first, end, panels):
    """The pixels ``first`` … ``end`` of the line, for some tiles of channels of one group.

    source, weights, target: pointers; epilogue: (bias, residual, adds, rectifies, streams); stretch: tiles from, to
    """
    bias, residual, adds, rectifies, streams = epilogue
    nr, pixels, depth, width, strided = tile.columns, sizes.pixels, sizes.depth, sizes.width, sizes.plane > sizes.pixels
    step, jump = max(1, tile.lanes // sizes.across), (sizes.groups * width - 1) * pixels
    for number in range(stretch[0], stretch[1]):
        k, asked = number * tile.rows, (number - stretch[0]) * step
        rows, planes = weights + k * depth, width - k  # rows that do not exist are not stored
        # Where the tile's first pixel goes is counted, not divided: of a short sum two divisions would take a tenth.
        pixel, image = first % pixels, (first // pixels * sizes.groups * width + k) * pixels
        for j in range(first, end, nr):
            count, packed, origin = min(nr, end - j), panels + (j - first) * depth, image + pixel
            run = min(count, pixels - pixel)  # the rest is of the next image
            place = block(tile, target + origin, pixels, planes, run)
            past = streams and run == nr and planes >= tile.rows
            if not past:
                prefetch_tile(place)
            total = spread_rows(tile, bias + k)
            if asked < nr:
                ahead = source + source_of(sizes, min(j + sizes.block + asked, sizes.line - 1))
            if asked == 0 and not strided:
                total = first_products(tile, sizes, total, rows, source, j, run, count, packed, ahead)
            elif asked < nr:
                if asked == 0:
                    gather_panel(tile, sizes, source, j, count, packed)
                total = products(tile, total, rows, sizes.plane, depth, packed, ahead)
            else:
                total = accumulate_packed(tile, total, rows, packed, depth)
            if run == count:
                other = block(tile, residual + origin, pixels, planes, run)
                finish(tile, total, place, other, (adds, rectifies, past))
            else:
                places, ends = (target + origin, residual + origin), (planes, run, count)
                finish_across(tile, total, places, pixels, jump, ends, (adds, rectifies, False))
            pixel += nr
            if pixel >= pixels:
                pixel, image = pixel - pixels, image + jump + pixels
