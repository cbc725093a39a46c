"""The stages of Winograd's convolution, compiled: ``winograd_cpu`` has the formula, the names of its arrays, and the plans.

    transform_images    V from the patches of the input (``patches_cpu``)
    pack_filters        U from the filters, or the filters alone where U is too large to be kept
    multiply_points     M from V and U
    write_images        outputs from M, with bias, residual and relu, or their maxima

``convolve`` chains them block of patches by block of patches; ``transform_group`` and ``convolve_group`` panel by panel.
"""

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.pack import pack
from ..cpu.places import block, rows_apart
from ..cpu.share import share, stripe
from ..cpu.simd import advance
from ..cpu.tile import accumulate_rows, pointer, prefetch_tile, store_tile, streamed, zero
from ..cpu.transform import transform_patch, transform_points
from .frame_cpu import turn_taps
from .patches_cpu import Points, ask_for_images, corner, in_row, offset_of, transform_images, transform_planes
from .planes_cpu import scatter_row

CHUNK = 32
"""Input channels whose filters are transformed together: they stay in the second cache meanwhile."""


@jit
def multiply_points(tile, scheme, v, u, m, depth, panels, rows, following):
    """m[point, :rows] = v[point, :rows] @ u[point] for every point; u.row: from one panel of ``depth`` rows to the next.

    following: images, their patches, and which of these (first, end) are brought nearer meanwhile
    """
    nr = tile.columns
    for point in range(scheme.points):
        ask_for_images(tile, scheme.input, *following, point, scheme.points)
        for j in range(panels):
            weights = u.base + (point * u.point + j * u.row)
            for t in range(0, rows, tile.rows):
                place = block(tile, m.base + (point * m.point + t * m.row + j * nr), m.row, rows - t, nr)
                prefetch_tile(place)
                a = rows_apart(tile, v.base + (point * v.point + t * v.row), v.row, rows - t)
                store_tile(accumulate_rows(tile, zero(tile), a, weights, depth), place)


@jit
def write_images(tile, scheme, m, operands, flags, target, channels, first, end):
    """Transform the products of the patches ``first`` … ``end`` into the output ``channels`` (first, end) that ``m`` is of.

    operands and flags: see ``convolve``

    Returns how many vectors of outputs were marked because they may not be finite.
    """
    _, _, bias, residual, out, positions, marks = operands
    rectifies, keeps, streams = flags
    # Addresses before the loop: an array used in it would count its references, which two threads do by turns.
    bias, residual = pointer(tile, bias, 0), pointer(tile, residual, 0)
    out, positions = pointer(tile, out, 0), pointer(tile, positions, 0)
    width, marked = target.channels, 0
    strides, vectors = (target.columns * width, width), (width + tile.lanes - 1) // tile.lanes
    for t in range(first, end):
        _, y, x = corner(target, t)
        origin = offset_of(target, t)
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
def write_planes(tile, scheme, m, operands, flags, target, channels, first, end, room, adds):
    """``write_images`` for images of planes, NCHW.

    room: for a row of patches of as many channels as a vector has lanes; adds: whether there is a residual
    """
    _, _, bias, residual, out, _, marks = operands
    bias, residual, out = pointer(tile, bias, 0), pointer(tile, residual, 0), pointer(tile, out, 0)
    rows, columns, width, lanes, step = target.rows, target.columns, target.channels, tile.lanes, target.step
    vectors, marked, t = (width + lanes - 1) // lanes, 0, first
    while t < end:
        n, y, x = corner(target, t)
        count = in_row(target, t, end)
        size = min(step, rows - y), min(count * step, columns - x)
        for k in range(channels[0], channels[1], lanes):
            for s in range(count):
                products = m.base + ((t - first + s) * m.row + k - channels[0])
                targets, extent = (room + s * step * lanes, None, False), (size[0], size[1] - s * step, width - k)
                strides = size[1] * lanes, lanes
                if transform_points(scheme.output, products, m.point, (bias + k, None, False), targets, strides, extent):
                    marks[(t + s) * vectors + k // lanes] = 1
                    marked += 1
            origin = ((n * width + k) * rows + y) * columns + x
            epilogue = residual + origin, adds, flags[0]
            scatter_row(tile, room, columns, rows * columns, width - k, size, epilogue, out + origin)
        t += count
    return marked


@jit
def convolve_share(tile, scheme, operands, flags, source, target, sizes, buffers, staging, thread, threads):
    """What is this thread's: blocks of patches, each with a range of the panels, through the three stages."""
    x, packed = operands[:2]
    nr, depth = tile.columns, source.channels
    v = Points(pointer(tile, buffers[0], thread * buffers[0].shape[1]), sizes.v_point, sizes.v_row)
    m = Points(pointer(tile, buffers[1], thread * buffers[1].shape[1]), sizes.m_point, sizes.m_row)
    filters = pointer(tile, packed, sizes.panels * scheme.taps.inputs * scheme.taps.inputs * depth * nr)
    images = pointer(tile, x, 0)
    first_task, end_task = share(thread, threads, sizes.ranges * sizes.blocks)
    marked = 0
    for task in range(first_task, end_task):
        j, j_end = share(task // sizes.blocks, sizes.ranges, sizes.panels)
        first, end = stripe(task % sizes.blocks, sizes.blocks, sizes.patches, tile.rows)
        u, channels = Points(filters + j * depth * nr, sizes.u_point, depth * nr), (j * nr, min(target.channels, j_end * nr))
        if staging is None:
            ahead = end, min(sizes.patches, 2 * end - first) if flags[2] else end
            transform_images(tile, scheme.input, images, depth, source, v, first, end)
            multiply_points(tile, scheme, v, u, m, depth, j_end - j, end - first, (images, source, ahead))
            marked += write_images(tile, scheme, m, operands, flags, target, channels, first, end)
        else:
            room = pointer(tile, staging[0], thread * staging[0].shape[1])
            transform_planes(tile, scheme.input, images, source, room, v, first, end)
            multiply_points(tile, scheme, v, u, m, depth, j_end - j, end - first, (images, source, (end, end)))
            marked += write_planes(tile, scheme, m, operands, flags, target, channels, first, end, room, staging[1])
    streamed(tile)
    return marked


@threaded
def convolve(tile, scheme, operands, flags, source, target, sizes, buffers, staging, threads):
    """All of it; returns how many vectors of outputs were marked.

    operands : images, packed filters, bias, residual or None, outputs, positions or None, marks
    flags : whether relu follows, whether the positions of maxima are kept, whether images are fetched ahead of time and
        outputs go past the caches
    source, target : how the images and the outputs are cut into patches
    buffers : V and M, a row for each thread
    staging : None; for images of planes (room, a row for each thread, and whether there is a residual)
    """
    marked = 0
    for thread in prange(threads):
        number = np.intp(thread)
        marked += convolve_share(tile, scheme, operands, flags, source, target, sizes, buffers, staging, number, threads)
    return marked


@threaded
def transform_group(tile, scheme, images, source, sizes, v, staging, group, threads):
    """V of the patches ``group`` (first, end), for all threads."""
    for thread in prange(threads):
        first, end = stripe(thread, threads, group[1] - group[0], 1)
        points = Points(pointer(tile, v, first * sizes.v_row), sizes.v_point, sizes.v_row)
        begin, stop = group[0] + first, group[0] + end
        if staging is None:
            transform_images(tile, scheme.input, pointer(tile, images, 0), source.channels, source, points, begin, stop)
        else:
            room = pointer(tile, staging[0], np.intp(thread) * staging[0].shape[1])
            transform_planes(tile, scheme.input, pointer(tile, images, 0), source, room, points, begin, stop)


@jit
def convolve_panel(tile, scheme, operands, flags, source, target, sizes, buffers, staging, group, j, thread):
    """Panel ``j`` of the output channels of a group of patches, from its V."""
    depth, nr, window = source.channels, tile.columns, scheme.taps.inputs
    v = Points(pointer(tile, buffers[0], 0), sizes.v_point, sizes.v_row)
    m = Points(pointer(tile, buffers[1], thread * buffers[1].shape[1]), sizes.m_point, sizes.m_row)
    u = Points(pointer(tile, buffers[2], thread * buffers[2].shape[1]), sizes.u_point, depth * nr)
    transform_filters(tile, scheme, pointer(tile, operands[1], j * window * window * depth * nr), depth, 0, depth, u)
    nothing = pointer(tile, operands[0], 0), source, (0, 0)
    multiply_points(tile, scheme, v, u, m, depth, 1, group[1] - group[0], nothing)
    channels = j * nr, min(target.channels, (j + 1) * nr)
    if staging is None:
        return write_images(tile, scheme, m, operands, flags, target, channels, group[0], group[1])
    room = pointer(tile, staging[0], thread * staging[0].shape[1])
    return write_planes(tile, scheme, m, operands, flags, target, channels, group[0], group[1], room, staging[1])


@threaded
def convolve_group(tile, scheme, operands, flags, source, target, sizes, buffers, staging, group, threads):
    """All panels of a group; the parameters of ``convolve``, U beside V and M; returns how many vectors were marked."""
    marked = 0
    for thread in prange(threads):
        first, end = share(thread, threads, sizes.panels)
        for j in range(first, end):
            cut = source, target, sizes
            marked += convolve_panel(tile, scheme, operands, flags, *cut, buffers, staging, group, j, np.intp(thread))
        streamed(tile)
    return marked


@jit
def copy_filters(tile, weight, strides, shape, window, turned, j, first, end, filters):
    """filters[tap, c, column] = the weights of the input channels ``first`` … ``end`` and panel ``j``.

    shape: input and output channels; the other parameters: see ``pack_filters``
    """
    down, right, row, along = strides
    depth, width = shape
    nr, taps = tile.columns, window * window
    if right == 1 and down == window:  # the taps of a filter lie side by side, KCRS
        for c in range(first, end):
            source, copied = pointer(tile, weight, j * nr * along + c * row), filters + c * nr
            turn_taps(tile, source, along, min(nr, width - j * nr), nr, taps, turned, copied, depth * nr)
        return
    for tap in range(taps):
        read = taps - 1 - tap if turned else tap
        origin = read // window * down + read % window * right + first * row + j * nr * along
        copied = filters + (tap * depth + first) * nr
        pack(tile, nr, pointer(tile, weight, origin), along, row, min(nr, width - j * nr), end - first, copied)


@jit
def transform_filters(tile, scheme, filters, depth, first, end, u):
    """u[point, c, column] = G g Gᵀ for the input channels ``first`` … ``end`` of filters [tap, c, column]."""
    size, window = depth * tile.columns, scheme.taps.inputs
    for i in range(first * tile.columns, end * tile.columns, tile.lanes):
        transform_patch(scheme.taps, filters + i, (window * size, size), None, tile.lanes, u.base + i, u.point)


@threaded
def pack_filters(tile, scheme, weight, strides, turned, shape, packed, sizes, threads):
    """packed = the filters [panel, tap, c, column], and behind them U[point, panel, c, column] where it is kept.

    weight: flat; strides: in elements from one tap row, tap column, input and output channel to the next; turned: by 180
    degrees; shape: input and output channels
    """
    for thread in prange(threads):
        depth, window, nr = shape[0], scheme.taps.inputs, tile.columns
        chunks, size = (depth + CHUNK - 1) // CHUNK, window * window * depth * nr
        first_task, end_task = share(thread, threads, sizes.panels * chunks)
        for task in range(first_task, end_task):
            j, (first, end) = task // chunks, share(task % chunks, chunks, depth)
            filters = pointer(tile, packed, j * size)
            copy_filters(tile, weight, strides, shape, window, turned, j, first, end, filters)
            if not sizes.group:
                u = Points(pointer(tile, packed, sizes.panels * size + j * depth * nr), sizes.u_point, depth * nr)
                transform_filters(tile, scheme, filters, depth, first, end, u)
