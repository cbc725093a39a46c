"""The stages of Winograd's gradient of the weight, compiled: ``winograd_weight_cpu`` has the formula, names, and the plans.

    transform_inputs    V from the patches of the images (``patches_cpu``), or of their cells (``cells_cpu``)
    transform_bands     V or D from images of planes
    multiply_points     M from V and D
    write_gradient      the gradient from M

``add_task`` chains them for a part of the patches and a range of the channels.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.places import block, panel
from ..cpu.share import share, stripe
from ..cpu.simd import advance, prefetch_further
from ..cpu.tile import add_tile, load_tile, pointer, prefetch_tile, rank1, store_tile, zero
from ..cpu.transform import transform_points
from .cells_cpu import transform_cells
from .patches_cpu import (
    ALL_MEET,
    Patches,
    Points,
    ask_for_images,
    corner,
    in_row,
    kinds_of,
    meeting,
    replaced_in,
    room_for_patch,
    transform_ends,
    transform_images,
)
from .planes_cpu import gather_row


class Sizes(NamedTuple):
    """How the work is cut and where the arrays of points are, in elements.

    patches, group, depth : of all images; those that pass at a time; input channels, or the depth of a cell
    parts, inputs, outputs : of the patches, each with its own M; ranges of the input and output channels
    stays : whether all of M is kept while the patches pass
    rows, columns : of a block of M
    v_point, v_row, d_point, d_row, m_point, m_row : from one point and from one row to the next in V, D and M
    """

    patches: int
    group: int
    depth: int
    parts: int
    inputs: int
    outputs: int
    stays: bool
    rows: int
    columns: int
    v_point: int
    v_row: int
    d_point: int
    d_row: int
    m_point: int
    m_row: int


@jit
def multiply_points(tile, scheme, v, d, m, shape, patches, first, following, turn):
    """m[point] (+)= v[point] transposed @ d[point] for every point and the patches that meet it; ``first``: m is overwritten.

    shape: input and output channels; patches: (first, end, source, ends), of those in ``v`` and ``d``; following: images and
    how they are cut, gradients and how they are cut, which patches (first, end) of both are brought nearer meanwhile; turn:
    call number, of how many for the same patches
    """
    channels, columns = shape
    images, source, gradients, gradient, those = following
    (start, stop, _, ends), kinds = patches, kinds_of(source)
    for point in range(scheme.points):
        begin, end = meeting(kinds, ends, scheme.input.outputs, point, start, stop)
        part, parts = turn[0] * scheme.points + point, turn[1] * scheme.points
        ask_for_images(tile, scheme.input, images, source, those, part, parts)
        ask_for_images(tile, scheme.taps, gradients, gradient, those, part, parts)
        asked, lines = 0, ((channels + tile.lanes - 1) // tile.lanes, (columns + tile.lanes - 1) // tile.lanes)
        for k in range(0, columns, tile.columns):
            b = panel(tile, d.base + (point * d.point + k))
            for c in range(0, channels, tile.rows):
                place = block(tile, m.base + (point * m.point + c * m.row + k), m.row, channels - c, tile.columns)
                prefetch_tile(place)
                a, total = v.base + (point * v.point + c), zero(tile)
                # Of every row of the next point's V and D one line after the other, a tile each, to the second cache.
                ahead, pitch = v.base + ((point + 1) * v.point + asked * tile.lanes), v.row
                if asked >= lines[0]:
                    ahead = d.base + ((point + 1) * d.point + (asked - lines[0]) * tile.lanes)
                    pitch = d.row if asked < lines[0] + lines[1] else 0
                for t in range(begin - start, end - start):
                    prefetch_further(ahead + t * pitch)
                    total = rank1(total, a + t * v.row, b + t * d.row)
                asked += 1
                if not first:
                    total = add_tile(total, load_tile(tile, place))
                store_tile(total, place)


@jit
def write_gradient(tile, scheme, m, addend, result, begin, shape, corner, extent, marks):
    """Transform a block of M to ``result``, from element ``begin`` on; addend: ``result``, or None if nothing is added.

    shape: of the weight, (C, K), and whether it is in strips (``turn_strips``); corner, extent: (input, output channels)
    before the block and in it; marks: of the weight

    Returns how many vectors of the gradient were marked because they may not be finite.
    """
    inputs, outputs, strips = shape
    window, size, vectors = scheme.output.outputs, inputs * outputs, (outputs + tile.lanes - 1) // tile.lanes
    marked, addend, result = 0, pointer(tile, addend, begin), pointer(tile, result, begin)
    for c in range(extent[0]):
        for k in range(0, extent[1], tile.lanes):
            row, column = corner[0] + c, corner[1] + k
            place, tap = row * outputs + column, size
            if strips:
                tap = min(tile.lanes, outputs - column)
                place = window * window * (column * inputs + row * tap)
            epilogue, targets = (None, advance(addend, place), False), (result + place, None, False)
            strides, exists = (window * tap, tap), (window, window, outputs - column)
            if transform_points(scheme.output, m.base + (c * m.row + k), m.point, epilogue, targets, strides, exists):
                marks[row * vectors + column // tile.lanes] = 1
                marked += 1
    return marked


@jit
def transform_bands(tile, transform, planes, channels, patches, points, first, end, ends, room, frame):
    """``transform_images`` and ``transform_ends`` of the first ``channels`` of images of planes, NCHW.

    room: for a row of patches of as many channels as a vector has lanes, an image of its own once they are side by side;
    frame: for a vector of each pixel of a patch, None where all patches meet all points

    Less is compiled than for ``transform_planes``, whose walk asks for planes more evenly.
    """
    rows, columns, lanes = patches.rows, patches.columns, tile.lanes
    reach, step, pitch, t = transform.inputs, patches.step, patches.rows * patches.columns, first
    while t < end:
        n, y, x = corner(patches, t)
        count, replaced = in_row(patches, t, end), replaced_in(patches, ends, y, x)
        top, left, bottom, right = max(0, y), max(0, x), min(rows, y + reach), min(columns, x + (count - 1) * step + reach)
        image = planes + (n * patches.channels * pitch + top * columns + left)
        full = 0 if replaced[0] else 1, 0 if replaced[1] else count
        band = Patches(bottom - top, right - left, lanes, 1, count, y - top, x - left, step, 1, *full)
        for c in range(0, channels, lanes):
            gather_row(tile, image + c * pitch, columns, pitch, channels - c, (bottom - top, right - left), room)
            these = Points(points.base + ((t - first) * points.row + c), points.point, points.row)
            transform_images(tile, transform, room, min(lanes, channels - c), band, these, 0, count, ends)
            if frame is not None and (replaced[0] or replaced[1]):
                transform_ends(tile, transform, room, min(lanes, channels - c), band, these, 0, count, ends, frame)
        t += count


@jit
def transform_inputs(tile, transform, x, channels, source, ends, cells, planes, buffers, framed, v, patches, thread):
    """V of the ``patches`` (first, end), of the input ``channels`` (first, end) or of all cells.

    planes: whether images are NCHW, where they are not cut into cells; framed: which row of patches the thread's frame holds;
    returns which it holds in the end
    """
    first, end = patches
    if cells is None:
        patch, count = room_for_patch(tile, transform, buffers[0], thread), channels[1] - channels[0]
        images = pointer(tile, x, channels[0] * (source.rows * source.columns if planes else 1))
        if planes:
            room = pointer(tile, buffers[3], thread * buffers[3].shape[1])
            transform_bands(tile, transform, images, count, source, v, first, end, ends, room, patch)
            return framed
        transform_images(tile, transform, images, count, source, v, first, end, ends)
        if ends.rows or ends.columns:
            transform_ends(tile, transform, images, count, source, v, first, end, ends, patch)
        return framed
    frame = pointer(tile, buffers[3], thread * buffers[3].shape[1])
    return transform_cells(tile, transform, pointer(tile, x, 0), source, cells, frame, framed, v, first, end)


@jit
def transform_gradients(tile, transform, grad_output, channels, gradient, planes, buffers, d, patches, thread):
    """D of the ``patches`` (first, end) and the output ``channels`` (first, end); planes: whether gradients are NCHW."""
    (first, end), count, rooms = patches, channels[1] - channels[0], buffers[-1]
    images = pointer(tile, grad_output, channels[0] * (gradient.rows * gradient.columns if planes else 1))
    if planes:
        room = pointer(tile, rooms, thread * rooms.shape[1])
        transform_bands(tile, transform, images, count, gradient, d, first, end, ALL_MEET, room, None)
    else:
        transform_images(tile, transform, images, count, gradient, d, first, end, ALL_MEET)


@jit
def add_blocks(tile, scheme, points, patches, addend, result, begin, shape, corner, extent, sizes, marks, following, grads):
    """The blocks of M from V of a group, added to the gradient; returns how many of its vectors were marked.

    D is formed of the output channels of a block at a time, for all blocks of these.

    points: (V, D, M) of the thread; patches, following: see ``multiply_points``; grads: what
    ``transform_gradients`` needs; the others: see ``write_gradient``
    """
    (v, d, m), marked, call = points, 0, 0
    (grad_output, gradient, planes, buffers, thread), (first, stop, _, _) = grads, patches
    calls = ((extent[0] + sizes.rows - 1) // sizes.rows) * ((extent[1] + sizes.columns - 1) // sizes.columns)
    for left in range(0, extent[1], sizes.columns):
        width, k = min(sizes.columns, extent[1] - left), corner[1] + left
        place = planes, buffers, d, (first, stop), thread
        transform_gradients(tile, scheme.taps, grad_output, (k, k + width), gradient, *place)
        for top in range(0, extent[0], sizes.rows):
            size, rows = (min(sizes.rows, extent[0] - top), width), Points(v.base + top, v.point, v.row)
            multiply_points(tile, scheme, rows, d, m, size, patches, True, following, (call, calls))
            call += 1
            place = corner[0] + top, corner[1] + left
            marked += write_gradient(tile, scheme, m, addend, result, begin, shape, place, size, marks)
    return marked


@jit
def add_task(tile, scheme, operands, source, gradient, ends, cells, sizes, buffers, flags, task, thread):
    """The gradient of a range of input by a range of output channels, from one part of the patches.

    Returns how many vectors of it were marked.
    """
    (grad_output, x, sums, marks), (streamed, planes) = operands, flags
    v = Points(pointer(tile, buffers[0], thread * buffers[0].shape[1]), sizes.v_point, sizes.v_row)
    d = Points(pointer(tile, buffers[1], thread * buffers[1].shape[1]), sizes.d_point, sizes.d_row)
    m = Points(pointer(tile, buffers[2], thread * buffers[2].shape[1]), sizes.m_point, sizes.m_row)
    shape, window, ranges = (sizes.depth, gradient.channels), scheme.output.outputs, sizes.inputs * sizes.outputs
    part, place, framed, marked = task // ranges, task % ranges, -1, 0
    c, c_end = stripe(place // sizes.outputs, sizes.inputs, shape[0], tile.rows)
    k, k_end = stripe(place % sizes.outputs, sizes.outputs, shape[1], tile.columns)
    begin, stop = share(part, sizes.parts, sizes.patches)
    extent, result = (c_end - c, k_end - k), part * window * window * shape[0] * shape[1]
    strips = planes and cells is None
    where, own = (result, (*shape, strips), (c, k), extent), marks[part * (marks.size // sizes.parts) :]
    for first in range(begin, stop, sizes.group):
        end = min(stop, first + sizes.group)
        these = first, end
        about, place = (source, ends, cells, planes), (v, these, thread)
        framed = transform_inputs(tile, scheme.input, x, (c, c_end), *about, buffers, framed, *place)
        next_end = min(stop, end + sizes.group) if streamed else end
        following = pointer(tile, x, c), source, pointer(tile, grad_output, k), gradient, (end, next_end)
        those = first, end, source, ends
        gradients = grad_output, gradient, planes, buffers, thread
        if sizes.stays:
            transform_gradients(tile, scheme.taps, grad_output, (k, k_end), gradient, planes, buffers, d, these, thread)
            multiply_points(tile, scheme, v, d, m, extent, those, first == begin, following, (0, 1))
        elif first == begin:
            marked += add_blocks(tile, scheme, (v, d, m), those, None, sums, *where, sizes, own, following, gradients)
        else:
            marked += add_blocks(tile, scheme, (v, d, m), those, sums, sums, *where, sizes, own, following, gradients)
    if sizes.stays:
        marked += write_gradient(tile, scheme, m, None, sums, *where, own)
    return marked


@threaded
def add_tasks(tile, scheme, operands, source, gradient, ends, cells, sizes, buffers, flags, threads):
    """All parts and ranges; returns how many vectors of the gradient were marked.

    operands : gradient, input, the sums of the parts, marks
    source, gradient : how the images, in pixels, and the gradients are cut into patches
    cells : how the images are cut into cells, or None
    buffers : V, D and M, the frames of cells, if there are any, and room for a row of patches of planes, a row for each thread
    flags : whether images and gradients are fetched ahead of time, whether both are planes
    """
    marked = 0
    for thread in prange(threads):
        first, end = share(thread, threads, sizes.parts * sizes.inputs * sizes.outputs)
        for task in range(first, end):
            cut, number = (source, gradient, ends, cells, sizes), np.intp(thread)
            marked += add_task(tile, scheme, operands, *cut, buffers, flags, task, number)
    return marked
