"""U of Winograd's convolution from the filters: once for all, or panel by panel for each block of patches.

    copy_filters        filters with output channels side by side, whatever their order was
    transform_filters   U[point, c, k] = G g Gᵀ
    transform_panel     of a panel of output channels and a chunk of input channels, from wherever they are
    pack_filters        of all, and the filters with it, of which ``spoilt_cpu`` makes plain sums

Lanes run over output channels, which filters of NHWC images have side by side: they are transformed where they are.
"""

from typing import NamedTuple

from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.pack import pack
from ..cpu.share import share
from ..cpu.simd import prefetch
from ..cpu.tile import pointer, room
from ..cpu.transform import transform_patch
from .frame_cpu import turn_taps
from .patches_cpu import Points

CHUNK = 32
"""Input channels whose filters are transformed together: they stay in the second cache meanwhile."""

ROWS_AHEAD = 4
"""Input channels before they are transformed, filters are asked for: the processor does not foresee so many streams."""


class Filters(NamedTuple):
    """Where filters are that are transformed in every call.

    address : of the first weight
    down, right, row, along : from one tap row, tap column, input and output channel to the next, in elements
    panel : from one panel of output channels to the next
    width : output channels
    turned : whether they are turned by 180 degrees
    """

    address: int
    down: int
    right: int
    row: int
    along: int
    panel: int
    width: int
    turned: bool


@jit
def copy_filters(tile, weight, strides, window, turned, count, depth, pitch, copied):
    """copied[tap * pitch + c * columns + column] = weight[tap, c, column], of ``depth`` input and ``count`` output channels.

    strides, turned: see ``pack_filters``
    """
    down, right, row, along = strides
    nr, taps = tile.columns, window * window
    if right == 1 and down == window:  # the taps of a filter lie side by side, KCRS
        for k in range(0, nr, tile.lanes):  # no more streams at a time than the processor follows
            for c in range(depth):
                source, target = weight + (c * row + k * along), copied + (c * nr + k)
                turn_taps(tile, source, along, count - k, tile.lanes, taps, turned, target, pitch)
        return
    for tap in range(taps):
        read = taps - 1 - tap if turned else tap
        source = weight + (read // window * down + read % window * right)
        pack(tile, nr, source, along, row, count, depth, copied + tap * pitch)


@jit
def transform_filters(tile, scheme, filters, strides, depth, count, u):
    """u[point, c, column] = G g Gᵀ for ``depth`` input channels of filters, of ``count`` output channels side by side.

    strides: from one tap row, tap column and input channel to the next
    """
    down, right, row = strides
    window = scheme.taps.inputs
    for c in range(depth):
        for k in range(0, tile.columns, tile.lanes):
            source = filters + (c * row + k)
            for r in range(window):
                for s in range(window):
                    prefetch(source + (ROWS_AHEAD * row + r * down + s * right))
            transform_patch(scheme.taps, source, (down, right), None, count - k, u.base + (c * tile.columns + k), u.point)


@jit
def transform_panel(tile, scheme, filters, j, first, end, copied, u):
    """U of panel ``j`` and the input channels ``first`` … ``end``.

    copied: room for these filters, to which they are brought if output channels are not side by side
    """
    down, right, row, along = filters.down, filters.right, filters.row, filters.along
    source, window, nr = room(tile, filters.address) + (j * filters.panel + first * row), scheme.taps.inputs, tile.columns
    count = min(nr, filters.width - j * nr)
    if along != 1:
        size, strides = (end - first) * nr, (down, right, row, along)
        copy_filters(tile, source, strides, window, filters.turned, count, end - first, size, copied)
        source, down, right, row, count = copied, window * size, size, nr, nr
    elif filters.turned:
        source, down, right = source + (window - 1) * (down + right), -down, -right
    transform_filters(tile, scheme, source, (down, right, row), end - first, count, u)


@threaded
def pack_filters(tile, scheme, weight, strides, turned, shape, packed, sizes, threads):
    """packed = the filters [panel, tap, c, column], and behind them U[point, panel, c, column] where it is kept.

    weight: flat; strides: in elements from one tap row, tap column, input and output channel to the next; turned: by 180
    degrees; shape: input and output channels
    """
    for thread in prange(threads):
        (depth, width), (_, _, row, along) = shape, strides
        window, nr = scheme.taps.inputs, tile.columns
        chunks, pitch = (depth + CHUNK - 1) // CHUNK, depth * nr
        first_task, end_task = share(thread, threads, sizes.panels * chunks)
        for task in range(first_task, end_task):
            j, (first, end) = task // chunks, share(task % chunks, chunks, depth)
            source = pointer(tile, weight, first * row + j * nr * along)
            copied = pointer(tile, packed, j * window * window * pitch + first * nr)
            copy_filters(tile, source, strides, window, turned, min(nr, width - j * nr), end - first, pitch, copied)
            if not sizes.chunk:
                place = (sizes.panels * window * window + j) * pitch + first * nr
                u = Points(pointer(tile, packed, place), sizes.u_point, pitch)
                transform_filters(tile, scheme, copied, (window * pitch, pitch, nr), end - first, nr, u)
