"""What Winograd's transforms have spoilt, summed as the definition says.

A transform adds everything in a patch with everything else: one NaN or infinity makes all outputs of the patch NaN, also those
whose window does not meet it, and numbers near the largest overflow in a sum that the definition does not form.  The kernels
therefore mark every vector of results that is not finite, and here the marked ones are computed anew, patch by patch, from the
operands themselves.  Padding is zeros, and zero times infinity is NaN.

This is compiled and run only when something was marked.
"""

from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.places import block, panel, rows_apart
from ..cpu.share import share
from ..cpu.tile import pointer, rank1, store_tile, zero
from ..cpu.tile import room as memory
from ..cpu.tile_rows import column
from ..cpu.transform import inputs_unchanged, outputs_unchanged, transform_patch, transform_points
from .patches_cpu import corner, offset_of


@inlined
def copy_patch(tile, transform, images, patches, t, c, frame, pitch):
    """frame[pixel] = a vector of channels from ``c`` on of every pixel that ``transform`` reads of patch ``t``.

    pitch: from pixel to pixel of the frame
    """
    n, y, x = corner(patches, t)
    strides, bounds = (patches.columns * patches.channels, patches.channels), (-y, patches.rows - y, -x, patches.columns - x)
    source = images + (offset_of(patches, n, y, x) + c)
    transform_patch(inputs_unchanged(transform), source, strides, bounds, patches.channels - c, frame, pitch)


@jit
def sum_patch(tile, strip, scheme, images, filters, source, meetings, t, k, room):
    """The address of the outputs of patch ``t``, a vector of channels from ``k`` on; filters: [panel, tap, c, column]."""
    depth, nr, reach, window = source.channels, tile.columns, scheme.input.inputs, scheme.taps.inputs
    pitch = (depth + tile.lanes - 1) // tile.lanes * tile.lanes
    for c in range(0, depth, tile.lanes):
        copy_patch(tile, scheme.input, images, source, t, c, room + c, pitch)
    (places, step), side, lanes = meetings, scheme.output.outputs, tile.lanes
    weights, sums = filters + (k // nr * window * window * depth * nr + k % nr), room + reach * reach * pitch
    phases = side // strip.rows
    for i in range(side):
        for phase in range(phases):
            total = zero(strip)
            for tap in range(window * window):
                pixel = places[tap, i, phase]
                if pixel >= 0:
                    pixels = rows_apart(strip, room + pixel * pitch, step * pitch, strip.rows)
                    for c in range(depth):
                        total = rank1(total, pixels + c, panel(strip, weights + (tap * depth + c) * nr))
            store_tile(total, block(strip, sums + (i * side + phase) * lanes, phases * lanes, strip.rows, lanes))
    return sums


@jit
def sum_share(tile, strip, scheme, operands, flags, source, target, meetings, buffer, thread, threads):
    """The marked vectors among the patches that are this thread's."""
    x, packed, bias, residual, out, positions, marks = operands
    rectifies, keeps, _, _ = flags
    channels = target.channels
    strides, vectors = (target.columns * channels, channels), (channels + tile.lanes - 1) // tile.lanes
    room = pointer(tile, buffer, thread * buffer.shape[1])
    first, end = share(thread, threads, marks.size // vectors)
    for t in range(first, end):
        n, y, x_place = corner(target, t)
        for k in range(0, channels, tile.lanes):
            if marks[t * vectors + k // tile.lanes]:
                marks[t * vectors + k // tile.lanes] = 0
                images, filters = pointer(tile, x, 0), memory(tile, packed)
                sums = sum_patch(tile, strip, scheme, images, filters, source, meetings, t, k, room)
                place, extent = offset_of(target, n, y, x_place) + k, (target.rows - y, target.columns - x_place, channels - k)
                epilogue = pointer(tile, bias, k), pointer(tile, residual, place), rectifies
                targets = pointer(tile, out, place), pointer(tile, positions, place if keeps else 0), keeps
                transform_points(outputs_unchanged(scheme.output), sums, tile.lanes, epilogue, targets, strides, extent)


@threaded
def sum_marked(tile, strip, scheme, operands, flags, source, target, meetings, buffer, threads):
    """Write the outputs that were marked; the parameters of the convolution, and:

    strip : the shape of the outputs of a row of a patch that read pixels ``step`` apart: all, or every second one, …
    meetings : (places, step), places[tap, row, phase] the pixel that the first of these reads for a tap, -1: they do not meet
    """
    for thread in prange(threads):
        sum_share(tile, strip, scheme, operands, flags, source, target, meetings, buffer, thread, threads)


@jit
def add_part(tile, scheme, images, patches, c, k, begin, end, room):
    """The address of the gradients of channel ``c`` and a vector of outputs from ``k`` on, of patches ``begin`` … ``end``.

    images, patches: of the input and of the gradient
    """
    lanes, reach, step, window = tile.lanes, scheme.input.inputs, scheme.taps.inputs, scheme.output.outputs
    pixels, gradient, stride = room, room + scheme.points * lanes, patches[0].step // patches[1].step
    sums, strip = gradient + step * step * lanes, column(tile, scheme.output)
    for r in range(window):
        total = zero(strip)
        for t in range(begin, end):
            copy_patch(tile, scheme.input, images[0], patches[0], t, c, pixels, lanes)
            copy_patch(tile, scheme.taps, images[1], patches[1], t, k, gradient, lanes)
            _, y, x = corner(patches[1], t)
            for i in range(min(step, patches[1].rows - y)):  # zeros beyond the gradient would make NaN of an infinite pixel
                for j in range(min(step, patches[1].columns - x)):
                    met = rows_apart(strip, pixels + ((i * stride + r) * reach + j * stride) * lanes, lanes, window)
                    total = rank1(total, met, panel(strip, gradient + (i * step + j) * lanes))
        store_tile(total, block(strip, sums + r * window * lanes, lanes, window, lanes))
    return sums


@jit
def add_marked_share(tile, scheme, operands, source, gradient, parts, buffer, thread, threads):
    """The marked vectors of the input channels that are this thread's."""
    grad_output, x, sums, marks = operands
    images = pointer(tile, x, 0), pointer(tile, grad_output, 0)
    inputs, outputs, window = source.channels, gradient.channels, scheme.output.outputs
    size, vectors = inputs * outputs, (outputs + tile.lanes - 1) // tile.lanes
    room = pointer(tile, buffer, thread * buffer.shape[1])
    patches = sizes_of(operands, source, gradient)
    first, end = share(thread, threads, parts * inputs)
    for row in range(first, end):
        part, c = row // inputs, row % inputs
        begin, stop = share(part, parts, patches)
        for k in range(0, outputs, tile.lanes):
            if marks[row * vectors + k // tile.lanes]:
                marks[row * vectors + k // tile.lanes] = 0
                found = add_part(tile, scheme, images, (source, gradient), c, k, begin, stop, room)
                place = pointer(tile, sums, part * window * window * size + c * outputs + k)
                strides, extent = (window * size, size), (window, window, outputs - k)
                epilogue, targets = (None, None, False), (place, None, False)
                transform_points(outputs_unchanged(scheme.output), found, tile.lanes, epilogue, targets, strides, extent)


@inlined
def sizes_of(operands, source, gradient):
    """How many patches there are in all images."""
    return operands[1].size // (source.rows * source.columns * source.channels) * gradient.down * gradient.across


@threaded
def add_marked(tile, scheme, operands, source, gradient, parts, buffer, threads):
    """Write the gradients that were marked; the parameters of the kernel."""
    for thread in prange(threads):
        add_marked_share(tile, scheme, operands, source, gradient, parts, buffer, thread, threads)
