"""Winograd's convolution where U is not kept: ``convolve_panels``, of the stages in ``winograd_stages_cpu``."""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.share import share, stripe
from ..cpu.tile import pointer, streamed
from .patches_cpu import Points
from .winograd_filters_cpu import transform_panel
from .winograd_stages_cpu import multiply_points, points_of, transform_block, write_outputs


@inlined
def lines_of(source, planes, part, parts, first, end):
    """Which of the patches ``first`` … ``end`` are part ``part`` of ``parts``; of planes rows of patches stay together."""
    across = source.across if planes else 1
    line = first // across
    begin, stop = share(part, parts, (end + across - 1) // across - line)
    return max(first, (line + begin) * across), min(end, (line + stop) * across)


@jit
def convolve_panels_step(
    tile, scheme, operands, flags, source, target, ends, filters, sizes, buffers, staging, step, thread, threads
):
    """What is this thread's of a block: in even steps some of its patches, in odd ones some of the panels."""
    nr, depth, marked = tile.columns, source.channels, 0
    v, (_, m) = Points(pointer(tile, buffers[0], 0), sizes.v_point, sizes.v_row), points_of(tile, buffers, sizes, thread)
    u = Points(pointer(tile, buffers[2], thread * buffers[2].shape[1]), sizes.u_point, 0)
    begin, stop = stripe(step // 2, sizes.blocks, sizes.patches, sizes.unit)
    if step % 2 == 0:
        first, end = lines_of(source, staging is not None, thread, threads, begin, stop)
        these = Points(v.base + (first - begin) * v.row, v.point, v.row)
        transform_block(tile, scheme, operands, source, ends, buffers, staging, thread, these, first, end)
        return 0
    # Each panel is cut into as many parts as there are threads, so that all have as much to do.
    for j in range(thread * sizes.panels // threads, ((thread + 1) * sizes.panels + threads - 1) // threads):
        part, end_part = max(0, thread * sizes.panels - j * threads), min(threads, (thread + 1) * sizes.panels - j * threads)
        first, _ = stripe(part, threads, stop - begin, sizes.unit)
        _, end = stripe(end_part - 1, threads, stop - begin, sizes.unit)
        first, end, rows = begin + first, begin + end, v.base + first * v.row
        for c in range(0, depth if first < end else 0, sizes.chunk):
            last = min(depth, c + sizes.chunk)
            transform_panel(tile, scheme, filters, j, c, last, u.base + scheme.points * sizes.u_point, u)
            these, nothing = Points(rows + c, v.point, v.row), (pointer(tile, operands[0], 0), source, (end, end))
            multiply_points(tile, scheme, these, u, m, last - c, (first, end, source, ends), c > 0, nothing)
        channels = j * nr, min(target.channels, (j + 1) * nr)
        marked += write_outputs(tile, scheme, m, operands, flags, target, channels, first, end, staging, thread)
    streamed(tile)
    return marked


@threaded
def convolve_panels(tile, scheme, operands, flags, source, target, ends, filters, sizes, buffers, staging, threads):
    """``convolve`` with filters that are transformed panel by panel, a chunk of their input channels at a time.

    Threads share V of a block: all of it is there before the products begin, and is read to the end before the next.

    filters : where they are
    buffers : V, and a row for each thread of M, and of U with room for the filters of a chunk
    """
    marked = 0
    for step in range(2 * sizes.blocks):
        for thread in prange(threads):
            number, cut = np.intp(thread), (source, target, ends, filters, sizes)
            marked += convolve_panels_step(tile, scheme, operands, flags, *cut, buffers, staging, step, number, threads)
    return marked
