"""Patches of images: what every stage of Winograd's algorithm reads or writes, and in every direction.

An image is cut into *patches*, ``step`` pixels apart, that overlap where the window is larger than a pixel.  A transform takes
each to its values at the *points* of the scheme, which are kept apart: ``points[point, patch, channel]``, so that what belongs
to one point is a matrix.
"""

from typing import Any, NamedTuple

from ..cpu.compile import inlined, jit
from ..cpu.places import block
from ..cpu.share import share
from ..cpu.simd import load_first, prefetch, store
from ..cpu.tile import pointer, store_tile, zero
from ..cpu.tile import room as memory
from ..cpu.tile_rows import add_scaled, column
from ..cpu.transform import inputs_unchanged, transform_patch
from .frame_cpu import clear
from .planes_cpu import gather_row


class Patches(NamedTuple):
    """How images are cut.

    rows, columns, channels : of an image
    down, across : patches of an image
    top, left : the pixel at which the first patch begins; before an image it is negative
    step : pixels from one patch to the next
    images : how many there are
    full_down, full_across : patches of an image that meet all points; fewer than there are if the last meet fewer (``Ends``)
    """

    rows: int
    columns: int
    channels: int
    down: int
    across: int
    top: int
    left: int
    step: int
    images: int
    full_down: int
    full_across: int


class Ends(NamedTuple):
    """What is known of the last row and column of patches where these meet fewer points than others do.

    The outputs of an image seldom fill its last patches.  Some points serve only outputs that do not exist, and pixels that
    count for none that does can be replaced by sums of others, such that the patch is zero at more points.

    down, across : bits, whether a patch in the last row (column) meets the point of that number
    rows, columns : bits, whether its row (column) of pixels of that number is replaced
    of_rows, of_columns : addresses of the factors, a row for each that is replaced, in the order of pixels
    """

    down: int
    across: int
    rows: int
    columns: int
    of_rows: int
    of_columns: int


ALL_MEET = Ends(-1, -1, 0, 0, 0, 0)
"""Where all patches meet all points."""


class Points(NamedTuple):
    """An array [point, row, channel]: its address, and the elements from one point and from one row to the next."""

    base: Any
    point: int
    row: int


@inlined
def kinds_of(patches):
    """How many patches come before those that meet all points, before the ends of columns and before the ends of both.

    Patches that meet the same points are side by side: first the ends of rows, then those that meet all points, then the ends
    of columns, at last the ends of both.  So any point is met by a run of them.
    """
    ends_of_rows = patches.images * patches.full_down * (patches.across - patches.full_across)
    ends_of_columns = patches.images * patches.full_down * patches.across
    ends_of_both = ends_of_columns + patches.images * (patches.down - patches.full_down) * patches.full_across
    return ends_of_rows, ends_of_columns, ends_of_both


@inlined
def place_of(patches, t):
    """(image, row, column) of patch ``t``, counted in patches."""
    ends_of_rows, ends_of_columns, ends_of_both = kinds_of(patches)
    before, high, wide, y, x = ends_of_rows, patches.full_down, patches.full_across, 0, 0
    if t < ends_of_rows:
        before, wide, x = 0, 1, patches.full_across
    elif t >= ends_of_both:
        before, high, wide, y, x = ends_of_both, 1, 1, patches.full_down, patches.full_across
    elif t >= ends_of_columns:
        before, high, y = ends_of_columns, 1, patches.full_down
    line = (t - before) // wide
    n = line // high
    return n, y + line - n * high, x + t - before - line * wide


@inlined
def corner(patches, t):
    """(image, row, column) at which patch ``t`` begins."""
    n, y, x = place_of(patches, t)
    return n, y * patches.step + patches.top, x * patches.step + patches.left


@inlined
def meeting(kinds, ends, side, point, first, end):
    """(first, end) of those among the patches ``first`` … ``end`` that meet the point, of ``side`` * ``side``."""
    ends_of_rows, ends_of_columns, ends_of_both = kinds
    begin, stop = first, end
    if not ends.across >> (point % side) & 1:
        begin, stop = max(first, ends_of_rows), min(end, ends_of_both)
    if not ends.down >> (point // side) & 1:
        stop = min(stop, ends_of_columns)
    begin = min(begin, end)
    return begin, max(begin, stop)


@jit
def replace_lines(tile, shape, lines, factors, patch, line, across):
    """Replace the ``lines`` of a patch, ``line`` apart, by sums of others; across: from pixel to pixel in each."""
    strip, reach, i = column(tile, shape), shape.inputs, 0
    while lines >> i:
        if lines >> i & 1:
            total = zero(strip)
            for r in range(reach):
                if factors[i * reach + r] != 0:
                    total = add_scaled(total, factors[i * reach + r], patch + r * line, across)
            store_tile(total, block(strip, patch + i * line, across, reach, tile.lanes))
        i += 1


@jit
def transform_end(tile, transform, source, strides, bounds, count, target, step, ends, replaced, room):
    """``transform_patch`` of a patch of which lines are ``replaced``, rows and columns; room: for a vector of each pixel."""
    reach, lanes = transform.inputs, tile.lanes
    near = reach * lanes, lanes
    clear(tile, room, reach * reach * lanes)
    for r in range(max(0, bounds[0]), min(reach, bounds[1])):
        for s in range(max(0, bounds[2]), min(reach, bounds[3])):
            store(room + (r * near[0] + s * lanes), load_first(source + (r * strides[0] + s * strides[1]), count))
    for side in range(2):
        factors = memory(tile, ends.of_rows if side == 0 else ends.of_columns)
        replace_lines(tile, inputs_unchanged(transform), replaced[side], factors, room, near[side], near[1 - side])
    transform_patch(transform, room, near, None, lanes, target, step)


@inlined
def replaced_in(patches, ends, y, x):
    """Which (rows, columns) of pixels are replaced in a patch that begins at this pixel."""
    row, column = patches.full_down * patches.step + patches.top, patches.full_across * patches.step + patches.left
    return ends.rows if y >= row else 0, ends.columns if x >= column else 0


@inlined
def in_row(patches, t, end):
    """How many of the patches ``t`` … ``end`` are in the same row of patches as ``t``."""
    _, _, x = place_of(patches, t)
    return min(end - t, max(1, patches.full_across - x))


@inlined
def offset_of(patches, n, y, x):
    """Elements from the first image to the pixel at row ``y`` and column ``x`` of image ``n``."""
    return ((n * patches.rows + y) * patches.columns + x) * patches.channels


@inlined
def room_for_patch(tile, transform, buffer, thread):
    """At the end of the thread's row of a buffer: for a vector of each pixel of a patch."""
    return pointer(tile, buffer, (thread + 1) * buffer.shape[1] - transform.inputs * transform.inputs * tile.lanes)


@jit
def transform_images(tile, transform, images, channels, patches, points, first, end, ends):
    """points[point, t - first, c] = transform of every patch t of ``first`` … ``end``, zero outside the image.

    images: pointer to the first of the ``channels`` that are transformed; patches of which ``ends`` replace pixels are left to
    ``transform_ends``
    """
    rows, columns, pitch = patches.rows, patches.columns, patches.channels
    reach, strides, pixels, run, t = transform.inputs, (columns * pitch, pitch), 1, patches.step * pitch, first
    if channels < pitch:
        pixels, run = patches.step, channels
    while t < end:
        n, y, x = corner(patches, t)
        count, replaced = in_row(patches, t, end), replaced_in(patches, ends, y, x)
        for s in range(0 if replaced[0] or replaced[1] else count):
            across = x + s * patches.step
            source = images + offset_of(patches, n, y, across)
            target = points.base + (t + s - first) * points.row
            inside = y >= 0 and y + reach <= rows and across >= 0 and across + reach <= columns
            if inside:
                for r in range(reach):  # the next patch begins where the rows of this one end
                    for f in range(pixels):
                        for c in range(0, run, tile.lanes):
                            prefetch(source + ((r * columns + reach + f) * pitch + c))
            for c in range(0, channels, tile.lanes):
                if inside:
                    transform_patch(transform, source + c, strides, None, channels - c, target + c, points.point)
                else:
                    bounds = -y, rows - y, -across, columns - across
                    transform_patch(transform, source + c, strides, bounds, channels - c, target + c, points.point)
        t += count


@jit
def transform_ends(tile, transform, images, channels, patches, points, first, end, ends, room):
    """What ``transform_images`` leaves; room: for a vector of each pixel of a patch."""
    strides = patches.columns * patches.channels, patches.channels
    for t in range(first, end):
        n, y, x = corner(patches, t)
        replaced = replaced_in(patches, ends, y, x)
        if replaced[0] or replaced[1]:
            source, target = images + offset_of(patches, n, y, x), points.base + (t - first) * points.row
            bounds = -y, patches.rows - y, -x, patches.columns - x
            for c in range(0, channels, tile.lanes):
                place = target + c, points.point, ends, replaced, room
                transform_end(tile, transform, source + c, strides, bounds, channels - c, *place)


@jit
def ask_for_images(tile, transform, images, patches, those, part, parts):
    """Bring part ``part`` of ``parts`` of the patches ``those`` (first, end) nearer, without what the next ones read again."""
    reach, pitch, run = transform.inputs, patches.columns * patches.channels, patches.step * patches.channels
    first, end = share(part, parts, (those[1] - those[0]) * reach)
    for item in range(first, end):
        t, r = those[0] + item // reach, item % reach
        n, y, x = corner(patches, t)
        if 0 <= y + r < patches.rows:
            line = images + (offset_of(patches, n, y, x) + r * pitch)
            for c in range(0, run, tile.lanes):
                prefetch(line + c)


@inlined
def ask_for(tile, planes, pitch, columns, rows, s, step):
    """Bring the pixels that patch ``s`` of a row begins nearer, a row of a line of pixels in turn with its neighbours."""
    turns = max(1, tile.lanes // step)
    for i in range(s % turns, tile.lanes, turns):
        for f in range(rows):
            prefetch(planes + (i * pitch + f * columns + s * step))


@jit
def transform_planes(tile, transform, planes, patches, room, points, first, end, ends, frame):
    """``transform_images`` for images of planes, NCHW.

    room: for a row of patches of as many channels as a vector has lanes, which are brought side by side there; frame: for a
    patch of them that meets fewer points
    """
    rows, columns, channels, lanes = patches.rows, patches.columns, patches.channels, tile.lanes
    reach, step, pitch, t = transform.inputs, patches.step, patches.rows * patches.columns, first
    while t < end:
        n, y, x = corner(patches, t)
        count, replaced = in_row(patches, t, end), replaced_in(patches, ends, y, x)
        top, left, bottom, right = max(0, y), max(0, x), min(rows, y + reach), min(columns, x + (count - 1) * step + reach)
        strides, image = ((right - left) * lanes, lanes), planes + (n * channels * pitch + top * columns + left)
        later, y_later, x_later = corner(patches, t + count)
        following = planes + (later * channels * pitch + max(0, y_later) * columns + max(0, x_later))
        for c in range(0, channels, lanes):
            gather_row(tile, image + c * pitch, columns, pitch, channels - c, (bottom - top, right - left), room)
            ahead = image + (c + lanes) * pitch if c + lanes < channels else following
            for s in range(count):
                ask_for(tile, ahead, pitch, columns, bottom - top, s, step)
                across = x + s * step
                patch = room + ((y - top) * strides[0] + (across - left) * lanes)
                target = points.base + ((t - first + s) * points.row + c)
                if replaced[0]:
                    place, bounds = (target, points.point, ends, replaced, frame), (-y, rows - y, -across, columns - across)
                    transform_end(tile, transform, patch, strides, bounds, channels - c, *place)
                elif top == y and bottom == y + reach and across >= 0 and across + reach <= columns:
                    transform_patch(transform, patch, strides, None, channels - c, target, points.point)
                else:
                    bounds = -y, rows - y, -across, columns - across
                    transform_patch(transform, patch, strides, bounds, channels - c, target, points.point)
        t += count
