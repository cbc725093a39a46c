"""Every patch of a batch of images transformed: the first stage of Winograd's algorithm in all directions."""

from ..cpu.compile import jit
from ..cpu.simd import prefetch
from ..cpu.transform import transform_patch


@jit
def transform_images(tile, transform, image, extents, patches, step, points, pitch, first, end):
    """points[point, patch - first, c] = transform of every patch of ``first`` … ``end``, zero outside the image.

    extents: (rows, columns, channels); patches: (down, across, top, left): patches of an image, and where its first begins;
    step: pixels from one patch to the next; pitch: (from point to point, from patch to patch) in ``points``
    """
    rows, columns, channels = extents
    down, across, top, left = patches
    reach = transform.inputs
    for t in range(first, end):
        n, y, x = t // (down * across), t // across % down * step + top, t % across * step + left
        source = image + ((n * rows + y) * columns + x) * channels
        target = points + (t - first) * pitch[1]
        inside = y >= 0 and y + reach <= rows and x >= 0 and x + reach <= columns
        if inside:
            for r in range(reach):  # the next patch begins where the rows of this one end
                for c in range(0, step * channels, tile.lanes):
                    prefetch(source + ((r * columns + reach) * channels + c))
        for c in range(0, channels, tile.lanes):
            place, strides, count = target + c, (columns * channels, channels), channels - c
            if inside:
                transform_patch(transform, source + c, strides, None, count, place, pitch[0])
            else:
                bounds = -y, rows - y, -x, columns - x
                transform_patch(transform, source + c, strides, bounds, count, place, pitch[0])
