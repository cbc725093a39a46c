"""A block of the 1x1 convolution of planes: panels of pixels that come from all planes, and the tiles that multiply them."""

from typing import NamedTuple

from ..cpu.accumulate import UNROLLED
from ..cpu.compile import inlined, jit
from ..cpu.places import between, block, columns, panel
from ..cpu.simd import prefetch_further
from ..cpu.tile import finish, prefetch_tile, rank1, spread_rows, store_tile
from ..cpu.tile_rows import load_row, one_row, one_vector, rows_of_steps
from .planes_cpu import gather_steps


class Sizes(NamedTuple):
    """What is multiplied; all lengths in elements.

    groups, depth, width : of channels; of a group in the source and in the target
    pixels, line : of an image of the target, and of all images
    plane, columns, down, across : of the source: pixels of an image, of a row that is read, to the next row, to the next pixel
    block, blocks : pixels between two returns to a tile of weights; how many blocks
    whole_images : whether the planes of an image, which lie side by side, are asked for in that order, an image ahead
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
    whole_images: int


NOTHING, WEIGHTS, PLANES, WHOLE_PANEL = range(4)
"""What a tile asks for on its way: weights of the next tile, or as much else, a vector or a panel of some planes."""


LEAST_SUM, ONE_LINE, MOST_SUM = 32, 96, 192
"""Terms of the sums beside which results are asked for, evenly; from how many on a line every UNROLLED steps is enough."""


@inlined
def ask(row, place):
    """Bring the lines of a ``row`` of vectors at ``place`` into the second cache.

    In the first one they drive out the panel that is met before them: on a Granite Rapids layers of 28x28 and 56x56 pixels and
    128 to 512 channels took 1.02 to 1.05 times as long so.
    """
    for j in range(row.vectors):
        prefetch_further(place + j * row.lanes)


@inlined
def packed_products(tile, total, rows, packed, first, depth):
    """total + rows of weights times a panel of pixels, from the plane ``first`` on.

    Unrolled by four steps it spilt sums of 8 x 3 vectors, for which layers took 1.05 times as long.
    """
    for c in range(first, depth):
        total = rank1(total, rows + c * tile.rows, panel(tile, packed + c * tile.columns))
    return total


@inlined
def products_asking(tile, row, total, rows, packed, depth, ahead, onward):
    """``packed_products``, which every UNROLLED steps asks for a ``row``, ``onward`` elements after the last."""
    whole = depth - depth % UNROLLED
    for first in range(0, whole, UNROLLED):
        ask(row, ahead)
        ahead = ahead + onward
        for step in range(UNROLLED):
            c = first + step
            total = rank1(total, rows + c * tile.rows, panel(tile, packed + c * tile.columns))
    if whole < depth:
        ask(row, ahead)
    return packed_products(tile, total, rows, packed, whole, depth)


@inlined
def products(tile, total, rows, packed, depth, asked):
    """total + rows of weights times a panel of pixels.

    asked: what is asked for, from where on, elements from what UNROLLED steps ask for to what the next ones do
    """
    what, ahead, onward = asked
    if what == NOTHING:
        return packed_products(tile, total, rows, packed, 0, depth)
    if what == WEIGHTS:
        return products_asking(tile, rows_of_steps(tile), total, rows, packed, depth, ahead, onward)
    if what == PLANES:
        return products_asking(tile, one_vector(tile), total, rows, packed, depth, ahead, onward)
    return products_asking(tile, one_row(tile), total, rows, packed, depth, ahead, onward)


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
def add_packing(tile, total, rows, here, there, packed):
    """total + the product with a row of pixels, which is packed."""
    row, pixels = one_row(tile), load_row(tile, here, there)
    store_tile(pixels, block(row, packed, 0, 1, tile.columns))
    return rank1(total, rows, pixels)


@inlined
def first_products(tile, row, sizes, total, rows, pixels, packed, ahead, onward):
    """``products`` with the pixels where they are, which are packed; every UNROLLED planes a ``row`` is asked for.

    pixels: pointer to the first plane, first of the line, how many are of its image, and all; the others are of the next
    """
    source, j, run, count = pixels
    start, pitch, depth = source + source_of(sizes, j), sizes.plane, sizes.depth
    jump = (sizes.groups * depth - 1) * pitch if run < count else 0
    here, there = columns(tile, start, run), columns(tile, start + jump, count)
    whole = depth - depth % UNROLLED
    for first in range(0, whole, UNROLLED):
        ask(row, ahead)
        ahead = ahead + onward
        for step in range(UNROLLED):
            c = first + step
            place = packed + c * tile.columns
            total = add_packing(tile, total, rows + c * tile.rows, here + c * pitch, there + c * pitch, place)
    if whole < depth:
        ask(row, ahead)
    for c in range(whole, depth):
        place = packed + c * tile.columns
        total = add_packing(tile, total, rows + c * tile.rows, here + c * pitch, there + c * pitch, place)
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

    The first tiles ask for the pixels of the panels that come after the block, of one plane in UNROLLED: a vector, or, where
    there are few tiles, a panel.  Each line is asked for once, and so few at a time that they do not wait for each other: on a
    Granite Rapids layers took 0.7 to 0.98 times as long so as with a vector of a plane at each step.  Of images that the
    second cache holds the next one is asked for from its first line to its last, which the processor foresees: on a Granite
    Rapids layers of 14x14 pixels took 0.91 to 0.98 times as long so.

    Where a block is an image, or nearly, and sums are short, the other tiles ask for what the next one overwrites, which lies
    side by side: a burst of requests before a tile stops it, and gradients of the input took 1.035 to 1.075 times as long so.
    """
    bias, residual, adds, rectifies, streams = epilogue
    nr, pixels, depth, width, strided = tile.columns, sizes.pixels, sizes.depth, sizes.width, sizes.plane > sizes.pixels
    step, jump = max(1, tile.lanes // sizes.across), (sizes.groups * width - 1) * pixels
    tiles, turns, asks_for = stretch[1] - stretch[0], UNROLLED * ((nr + step - 1) // step), PLANES
    if tiles < turns and not strided:
        turns, asks_for = UNROLLED, WHOLE_PANEL
    onward = UNROLLED * sizes.plane
    if sizes.whole_images:
        turns = min(turns, tiles)
        onward = UNROLLED * nr // turns
    in_order = not streams and LEAST_SUM <= depth <= MOST_SUM and 8 * sizes.block >= 7 * pixels
    for number in range(stretch[0], stretch[1]):
        k, turn = number * tile.rows, number - stretch[0]
        rows, planes = weights + k * depth, width - k  # rows that do not exist are not stored
        following = weights + (number + 1 if number + 1 < stretch[1] else stretch[0]) * tile.rows * depth
        # Where the tile's first pixel goes is counted, not divided: of a short sum two divisions would take a tenth.
        pixel, image = first % pixels, (first // pixels * sizes.groups * width + k) * pixels
        for j in range(first, end, nr):
            count, packed, origin = min(nr, end - j), panels + (j - first) * depth, image + pixel
            run = min(count, pixels - pixel)  # the rest is of the next image
            place = block(tile, target + origin, pixels, planes, run)
            past = streams and run == nr and planes >= tile.rows
            if not past and not (in_order and turn > turns and j + nr < end):
                prefetch_tile(place)
            total = spread_rows(tile, bias + k)
            asked = WEIGHTS if j + nr >= end else NOTHING, following, UNROLLED * tile.rows
            if in_order and turn >= turns and number + 1 < stretch[1] and j + nr < end:
                there = target + (image + tile.rows * (pixels + pixel))
                asked = WEIGHTS if depth < ONE_LINE else PLANES, there, UNROLLED * nr * tile.rows // depth
            if turn < turns and sizes.whole_images:
                there = min(j + pixels, sizes.line - 1) * depth + turn * (depth // UNROLLED) * onward
                asked = asks_for, source + there, onward
            elif turn < turns:
                there = min(j + sizes.block + turn // UNROLLED * step, sizes.line - 1)
                ahead = source + (source_of(sizes, there) + turn % UNROLLED * sizes.plane)
                asked = asks_for, ahead, onward
            if turn == 0 and not strided:
                where = source, j, run, count
                if asks_for == PLANES:
                    total = first_products(tile, one_vector(tile), sizes, total, rows, where, packed, *asked[1:])
                else:
                    total = first_products(tile, one_row(tile), sizes, total, rows, where, packed, *asked[1:])
            else:
                if turn == 0:
                    gather_panel(tile, sizes, source, j, count, packed)
                total = products(tile, total, rows, packed, depth, asked)
            if run == count:
                other = block(tile, residual + origin, pixels, planes, run)
                finish(tile, total, place, other, (adds, rectifies, past))
            else:
                places, ends = (target + origin, residual + origin), (planes, run, count)
                finish_across(tile, total, places, pixels, jump, ends, (adds, rectifies, False))
            pixel += nr
            if pixel >= pixels:
                pixel, image = pixel - pixels, image + jump + pixels
