"""Patches of images: what every stage of Winograd's algorithm reads or writes, and in every direction.

An image is cut into *patches*, ``step`` pixels apart, that overlap where the window is larger than a pixel.  A transform takes
each to its values at the *points* of the scheme, which are kept apart: ``points[point, patch, channel]``, so that what belongs
to one point is a matrix.
"""

from typing import Any, NamedTuple

from ..cpu.compile import inlined, jit
from ..cpu.share import share
from ..cpu.simd import prefetch
from ..cpu.transform import transform_patch
from .planes_cpu import gather_row


class Patches(NamedTuple):
    """How images are cut.

    rows, columns, channels : of an image
    down, across : patches of an image
    top, left : the pixel at which the first patch begins; before an image it is negative
    step : pixels from one patch to the next
    """

    rows: int
    columns: int
    channels: int
    down: int
    across: int
    top: int
    left: int
    step: int


class Points(NamedTuple):
    """An array [point, row, channel]: its address, and the elements from one point and from one row to the next."""

    base: Any
    point: int
    row: int


@inlined
def corner(patches, t):
    """(image, row, column) at which patch ``t`` begins."""
    n, place = t // (patches.down * patches.across), t % (patches.down * patches.across)
    y, x = place // patches.across, place % patches.across
    return n, y * patches.step + patches.top, x * patches.step + patches.left


@inlined
def offset_of(patches, t):
    """Elements from the first image to the pixel at which patch ``t`` begins."""
    n, y, x = corner(patches, t)
    return ((n * patches.rows + y) * patches.columns + x) * patches.channels


@jit
def transform_images(tile, transform, images, channels, patches, points, first, end):
    """points[point, t - first, c] = transform of every patch t of ``first`` … ``end``, zero outside the image.

    images: pointer to the first of the ``channels`` that are transformed
    """
    rows, columns, pitch = patches.rows, patches.columns, patches.channels
    reach, strides, pixels, run = transform.inputs, (columns * pitch, pitch), 1, patches.step * pitch
    if channels < pitch:
        pixels, run = patches.step, channels
    for t in range(first, end):
        _, y, x = corner(patches, t)
        source = images + offset_of(patches, t)
        target = points.base + (t - first) * points.row
        inside = y >= 0 and y + reach <= rows and x >= 0 and x + reach <= columns
        if inside:
            for r in range(reach):  # the next patch begins where the rows of this one end
                for s in range(pixels):
                    for c in range(0, run, tile.lanes):
                        prefetch(source + ((r * columns + reach + s) * pitch + c))
        for c in range(0, channels, tile.lanes):
            if inside:
                transform_patch(transform, source + c, strides, None, channels - c, target + c, points.point)
            else:
                bounds = -y, rows - y, -x, columns - x
                transform_patch(transform, source + c, strides, bounds, channels - c, target + c, points.point)


@jit
def ask_for_images(tile, transform, images, patches, those, part, parts):
    """Bring part ``part`` of ``parts`` of the patches ``those`` (first, end) nearer, without what the next ones read again."""
    reach, pitch, run = transform.inputs, patches.columns * patches.channels, patches.step * patches.channels
    first, end = share(part, parts, (those[1] - those[0]) * reach)
    for item in range(first, end):
        t, r = those[0] + item // reach, item % reach
        _, y, _ = corner(patches, t)
        if 0 <= y + r < patches.rows:
            line = images + (offset_of(patches, t) + r * pitch)
            for c in range(0, run, tile.lanes):
                prefetch(line + c)


@inlined
def in_row(patches, t, end):
    """How many of the patches ``t`` … ``end`` are in the same row of patches as ``t``."""
    return min(end - t, patches.across - t % patches.across)


@inlined
def ask_for(tile, planes, pitch, columns, rows, s, step):
    """Bring the pixels that patch ``s`` of a row begins nearer, a row of a line of pixels in turn with its neighbours."""
    turns = max(1, tile.lanes // step)
    for i in range(s % turns, tile.lanes, turns):
        for f in range(rows):
            prefetch(planes + (i * pitch + f * columns + s * step))


@jit
def transform_planes(tile, transform, planes, patches, room, points, first, end):
    """``transform_images`` for images of planes, NCHW.

    room: for a row of patches of as many channels as a vector has lanes, which are brought side by side there
    """
    rows, columns, channels, lanes = patches.rows, patches.columns, patches.channels, tile.lanes
    reach, step, pitch, t = transform.inputs, patches.step, patches.rows * patches.columns, first
    while t < end:
        n, y, x = corner(patches, t)
        count = in_row(patches, t, end)
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
                if top == y and bottom == y + reach and across >= 0 and across + reach <= columns:
                    transform_patch(transform, patch, strides, None, channels - c, target, points.point)
                else:
                    bounds = -y, rows - y, -across, columns - across
                    transform_patch(transform, patch, strides, bounds, channels - c, target, points.point)
        t += count
