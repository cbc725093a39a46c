"""The stages of Winograd's convolution, compiled: ``winograd_cpu`` has the formula, the names of its arrays, and the plans.

    transform_images    V from the patches of the input (``patches_cpu``)
    transform_filters   U from the filters (``winograd_filters_cpu``)
    multiply_points     M from V and U
    write_images        outputs from M, with bias, residual and relu, or their maxima

``convolve`` chains them block of patches by block of patches, where U is kept; ``winograd_panels_cpu`` has the filters of each
panel transformed for each block.
"""

import numpy as np
from numba import prange

from ..cpu.accumulate import accumulate_rows
from ..cpu.compile import inlined, jit, threaded
from ..cpu.places import block, panel, rows_apart
from ..cpu.share import share, stripe
from ..cpu.simd import advance, prefetch, prefetch_further
from ..cpu.tile import load_tile, pointer, prefetch_tile, rank1, room, store_tile, streamed, zero
from ..cpu.transform import transform_points
from .frame_cpu import clear
from .patches_cpu import (
    Points,
    ask_for,
    ask_for_images,
    corner,
    in_row,
    kinds_of,
    meeting,
    offset_of,
    room_for_patch,
    transform_ends,
    transform_images,
    transform_planes,
)
from .planes_cpu import scatter_row, stream_row


@inlined
def accumulate_ahead(tile, total, a, b, depth, rows, pitch, columns, step):
    """total + A @ B as ``accumulate_rows`` has it; what is multiplied next is brought nearer meanwhile.

    rows, pitch: of A, to the first cache: where they begin and from one to the next; columns, step: of B, to the second: from
    one vector to the next, 0 if they have been asked for

    Where the third cache is far away, on a Granite Rapids, the processor alone foresees too little: products took up to 1.25
    times as long.
    """
    whole = depth // 4 * 4
    for k in range(0, whole, 4):
        ahead = rows + (k // 4 % 4 * 2 * pitch + k)  # a line holds 16 steps: two rows in each of the four turns
        prefetch(ahead)
        prefetch(ahead + pitch)
        prefetch_further(columns)
        total = rank1(total, a + k, panel(tile, b + k * tile.columns))
        prefetch_further(columns + step)
        total = rank1(total, a + (k + 1), panel(tile, b + (k + 1) * tile.columns))
        prefetch_further(columns + 2 * step)
        total = rank1(total, a + (k + 2), panel(tile, b + (k + 2) * tile.columns))
        prefetch_further(columns + 3 * step)
        total = rank1(total, a + (k + 3), panel(tile, b + (k + 3) * tile.columns))
        columns = columns + 4 * step
    return accumulate_rows(tile, total, a + whole, b + whole * tile.columns, depth - whole)


@jit
def multiply_points(tile, scheme, v, u, m, depth, patches, adds, following):
    """m[point, t] (+)= v[point, t] @ u[point] for every point and one panel, zero where a patch does not meet the point.

    Where the output's transform has fewer points, what the phases of the input have at one is added up (``strided``).

    u.row: to the panel that follows; patches: (first, end, source, ends), of those in ``v``; adds: to what ``m`` holds;
    following: images, their patches, and which of these (first, end) are brought nearer meanwhile
    """
    nr, (first, last, source, ends) = tile.columns, patches
    kinds, side, sums = kinds_of(source), scheme.input.outputs, scheme.output.inputs
    phases = (side + sums - 1) // sums
    for point in range(scheme.points):
        row, column = point // side, point % side
        products = m.base + (row // phases * sums + column // phases) * m.point
        added = adds or row % phases + column % phases > 0
        ask_for_images(tile, scheme.input, *following, point, scheme.points)
        begin, end = meeting(kinds, ends, side, point, first, last)
        begin, end = begin - first, end - first
        if not added and end - begin < last - first:
            clear(tile, products, begin * m.row)
            clear(tile, products + end * m.row, (last - first - end) * m.row)
        again = point + 1 < scheme.points
        weights, coming = u.base + point * u.point, u.base + ((point + 1) * u.point if again else u.row)
        for t in range(begin, end, tile.rows):
            place = block(tile, products + t * m.row, m.row, end - t, nr)
            prefetch_tile(place)
            rows, asked = v.base + (point * v.point + t * v.row), (t - begin) // tile.rows * tile.lanes
            next_rows, step = rows + tile.rows * v.row, tile.lanes if asked < nr else 0
            if t + tile.rows >= end:
                next_rows = v.base + ((point + 1 if again else 0) * v.point + begin * v.row)
            a, total = rows_apart(tile, rows, v.row, end - t), zero(tile)
            if added:  # the same sums, then, whatever chunks of channels they are formed of
                total = load_tile(tile, place)
            total = accumulate_ahead(tile, total, a, weights, depth, next_rows, v.row, coming + asked * depth, step)
            store_tile(total, place)


@jit
def write_images(tile, scheme, m, operands, flags, target, channels, first, end):
    """Transform the products of the patches ``first`` … ``end`` into the output ``channels`` (first, end) that ``m`` is of.

    operands and flags: see ``convolve``

    Returns how many vectors of outputs were marked because they may not be finite.
    """
    _, _, bias, residual, out, positions, marks = operands
    rectifies, keeps, streams, _ = flags
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    bias, residual = pointer(tile, bias, 0), pointer(tile, residual, 0)
    out, positions = pointer(tile, out, 0), pointer(tile, positions, 0)
    width, marked = target.channels, 0
    strides, vectors = (target.columns * width, width), (width + tile.lanes - 1) // tile.lanes
    for t in range(first, end):
        n, y, x = corner(target, t)
        origin = offset_of(target, n, y, x)
        for k in range(channels[0], channels[1], tile.lanes):
            place, extent = origin + k, (target.rows - y, target.columns - x, width - k)
            epilogue = bias + k, advance(residual, place), rectifies
            targets = out + place, advance(positions, place), keeps or streams
            products = m.base + ((t - first) * m.row + k - channels[0])
            if transform_points(scheme.output, products, m.point, epilogue, targets, strides, extent):
                marks[t * vectors + k // tile.lanes] = 1
                marked += 1
    return marked


@jit
def write_planes(tile, scheme, m, operands, flags, target, channels, first, end, place, staging):
    """``write_images`` for images of planes, NCHW; place: for a row of patches of as many channels as a vector has lanes."""
    _, _, bias, residual, out, _, marks = operands
    bias, residual, out, asks = pointer(tile, bias, 0), pointer(tile, residual, 0), pointer(tile, out, 0), staging[2]
    rows, columns, width, lanes, step = target.rows, target.columns, target.channels, tile.lanes, target.step
    vectors, marked, t = (width + lanes - 1) // lanes, 0, first
    while t < end:
        n, y, x = corner(target, t)
        count = in_row(target, t, end)
        size = min(step, rows - y), min(count * step, columns - x)
        for k in range(channels[0], channels[1], lanes):
            origin = ((n * width + k) * rows + y) * columns + x
            for s in range(count):
                if asks and not flags[2]:
                    ask_for(tile, out + origin, rows * columns, columns, size[0], s, step)
                products = m.base + ((t - first + s) * m.row + k - channels[0])
                targets, extent = (place + s * step * lanes, None, False), (size[0], size[1] - s * step, width - k)
                strides = size[1] * lanes, lanes
                if transform_points(scheme.output, products, m.point, (bias + k, None, False), targets, strides, extent):
                    marks[(t + s) * vectors + k // lanes] = 1
                    marked += 1
            epilogue = residual + origin, staging[1], flags[0]
            if flags[2] and width - k >= lanes:
                stream_row(tile, place, columns, rows * columns, size, epilogue, out + origin)
            else:
                scatter_row(tile, place, columns, rows * columns, width - k, size, epilogue, out + origin)
        t += count
    return marked


@inlined
def staged(tile, staging, thread):
    """The thread's room for a row of patches of planes."""
    return pointer(tile, staging[0], thread * staging[0].shape[1])


@jit
def write_outputs(tile, scheme, m, operands, flags, target, channels, first, end, staging, thread):
    """``write_images`` or, of planes, ``write_planes``."""
    if staging is None:
        return write_images(tile, scheme, m, operands, flags, target, channels, first, end)
    place = staged(tile, staging, thread)
    return write_planes(tile, scheme, m, operands, flags, target, channels, first, end, place, staging)


@inlined
def points_of(tile, buffers, sizes, thread):
    """V and M of the thread."""
    v, m = pointer(tile, buffers[0], thread * buffers[0].shape[1]), pointer(tile, buffers[1], thread * buffers[1].shape[1])
    return Points(v, sizes.v_point, sizes.v_row), Points(m, sizes.m_point, sizes.m_row)


@inlined
def task_of(tile, sizes, task):
    """(panels, patches) of a task, each first and end."""
    panels = share(task // sizes.blocks, sizes.ranges, sizes.panels)
    return panels, stripe(task % sizes.blocks, sizes.blocks, sizes.patches, sizes.unit)


@jit
def transform_block(tile, scheme, operands, source, ends, buffers, staging, thread, v, first, end):
    """V of the patches ``first`` … ``end``."""
    images, patch = pointer(tile, operands[0], 0), room_for_patch(tile, scheme.input, buffers[1], thread)
    if staging is None:
        transform_images(tile, scheme.input, images, source.channels, source, v, first, end, ends)
        if ends.rows or ends.columns:
            transform_ends(tile, scheme.input, images, source.channels, source, v, first, end, ends, patch)
    else:
        transform_planes(tile, scheme.input, images, source, staged(tile, staging, thread), v, first, end, ends, patch)


@jit
def convolve_block(
    tile, scheme, operands, flags, target, filters, u_point, v, m, depth, panels, patches, following, staging, thread
):
    """The outputs of a block from its V: panel by panel, so that M, which is of one, stays in the second cache.

    filters: U; panels: (first, end); patches, following: see ``multiply_points``, of all panels together
    """
    nr, (first, end, _, _), (images, source, those), marked = tile.columns, patches, following, 0
    for j in range(panels[0], panels[1]):
        begin, stop = share(j - panels[0], panels[1] - panels[0], those[1] - those[0])
        ahead = images, source, (those[0] + begin, those[0] + stop)
        coming = j + 1 if j + 1 < panels[1] else panels[0]
        u = Points(filters + j * depth * nr, u_point, (coming - j) * depth * nr)
        multiply_points(tile, scheme, v, u, m, depth, patches, False, ahead)
        channels = j * nr, min(target.channels, (j + 1) * nr)
        marked += write_outputs(tile, scheme, m, operands, flags, target, channels, first, end, staging, thread)
    return marked


@jit
def convolve_share(tile, scheme, operands, flags, source, target, ends, sizes, buffers, staging, thread, threads):
    """What is this thread's: blocks of patches, each with a range of the panels, through the three stages."""
    depth, window, marked = source.channels, scheme.taps.inputs, 0
    v, m = points_of(tile, buffers, sizes, thread)
    images, filters = pointer(tile, operands[0], 0), room(tile, operands[1]) + sizes.panels * window**2 * depth * tile.columns
    first_task, end_task = share(thread, threads, sizes.ranges * sizes.blocks)
    for task in range(first_task, end_task):
        panels, (first, end) = task_of(tile, sizes, task)
        transform_block(tile, scheme, operands, source, ends, buffers, staging, thread, v, first, end)
        ahead = end, min(sizes.patches, 2 * end - first) if flags[3] else end
        cut = filters, sizes.u_point, v, m, depth, panels, (first, end, source, ends), (images, source, ahead)
        marked += convolve_block(tile, scheme, operands, flags, target, *cut, staging, thread)
    streamed(tile)
    return marked


@threaded
def convolve(tile, scheme, operands, flags, source, target, ends, sizes, buffers, staging, threads):
    """All of it; returns how many vectors of outputs were marked.

    operands : images, the address of the packed filters, bias, residual or None, outputs, positions or None, marks
    flags : whether relu follows, whether the positions of maxima are kept, whether outputs go past the caches, whether images
        are asked for ahead of time
    source, target : how the images and the outputs are cut into patches
    ends : of the last of these
    buffers : V and M, a row for each thread
    staging : None; for images of planes (room, a row for each thread, whether there is a residual, ``outputs_leave``)
    """
    marked = 0
    for thread in prange(threads):
        number = np.intp(thread)
        cut = source, target, ends, sizes
        marked += convolve_share(tile, scheme, operands, flags, *cut, buffers, staging, number, threads)
    return marked
