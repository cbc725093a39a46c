"""Max pooling by windows on the CPU.

NHWC: the lanes are the channels of a pixel.  A window's taps are taken four at a time, the last one repeated to fill the four,
which changes nothing: each pass over the channels reads four pixels and touches the output once.
NCHW: the lanes are the outputs of a row, one pass for each tap.

Backwards every pixel looks at the windows that cover it, in their order, and takes what is meant for it: each gradient is
written once, by one thread.
"""

from numba import int64, prange

from ..cpu.compile import inlined, threaded
from ..cpu.share import share
from . import window

larger = inlined(window.larger)
received = inlined(window.received)


@inlined
def list_taps(taps, rows, columns, down, across):
    """Write the taps of a window of ``rows`` x ``columns`` as distances from its first; how many, filled up to fours."""
    count = 0
    for i in range(rows):
        for j in range(columns):
            taps[count] = i * down + j * across
            count += 1
    while 0 < count < taps.size and count % 4:
        taps[count] = taps[count - 1]
        count += 1
    return count


@inlined
def largest_of_four(a, b, c, d, at, best, places, first):
    """Fold four pixels, whose positions are ``at[:4]``, into ``best`` and ``places``; begin with them if ``first``."""
    kind = places.dtype.type
    at_a, at_b, at_c, at_d = kind(at[0]), kind(at[1]), kind(at[2]), kind(at[3])
    for lane in range(best.size):
        value, place = (a[lane], at_a) if first else larger(best[lane], places[lane], a[lane], at_a)
        value, place = larger(value, place, b[lane], at_b)
        value, place = larger(value, place, c[lane], at_c)
        value, place = larger(value, place, d[lane], at_d)
        best[lane], places[lane] = value, place


@threaded
def forward_nhwc(x, out, indices, kept, images, vertical, horizontal, dilation, taps, threads):
    """out (N * P * Q, C) from x (N * H * W, C); ``images`` is (N, H, W), ``vertical`` and ``horizontal`` are (first, count)."""
    for thread in prange(threads):
        N, H, W = images
        P, Q = vertical[0].size, horizontal[0].size
        distances, at = taps[thread, 4:], taps[thread, :4]
        listed_rows, listed_columns, count = 0, 0, 0
        begin, end = share(thread, threads, N * P)
        for row in range(begin, end):
            n, p = row // P, row % P
            top, rows = vertical[0][p], vertical[1][p]
            for q in range(Q):
                columns = horizontal[1][q]
                if rows != listed_rows or columns != listed_columns:
                    count = list_taps(distances, rows, columns, dilation[0] * W, dilation[1])
                    listed_rows, listed_columns = rows, columns
                corner, image = top * W + horizontal[0][q], n * H * W
                best, places = out[row * Q + q], indices[row * Q + q if kept else int64(thread)]
                if count == 0:
                    best[:], places[:] = -float("inf"), -1
                for tap in range(0, count, 4):
                    for i in range(4):
                        at[i] = corner + distances[tap + i]
                    a, b, c, d = x[image + at[0]], x[image + at[1]], x[image + at[2]], x[image + at[3]]
                    if tap == 0:
                        largest_of_four(a, b, c, d, at, best, places, True)
                    else:
                        largest_of_four(a, b, c, d, at, best, places, False)


@inlined
def receive(given, places, here, gradient, first):
    """Add to the ``gradient`` of the channels of pixel ``here`` what one window holds for them; begin with it if ``first``."""
    for lane in range(gradient.size):
        share = received(given[lane], places[lane], here)
        gradient[lane] = share if first else gradient[lane] + share


@threaded
def backward_nhwc(gradients, indices, out, images, vertical, horizontal, threads):
    """out (N * H * W, C) from gradients (N * P * Q, C); the axes are (begin, windows), ``images`` is (N, H, W, P, Q)."""
    for thread in prange(threads):
        N, H, W, P, Q = images
        start, end = share(thread, threads, N * H)
        for row in range(start, end):
            n, h = row // H, row % H
            for w in range(W):
                here = indices.dtype.type(h * W + w)
                gradient = out[row * W + w]
                none_yet = True
                for i in range(vertical[0][h], vertical[0][h + 1]):
                    for j in range(horizontal[0][w], horizontal[0][w + 1]):
                        source = (n * P + vertical[1][i]) * Q + horizontal[1][j]
                        given, places = gradients[source], indices[source]
                        if none_yet:
                            receive(given, places, here, gradient, True)
                        else:
                            receive(given, places, here, gradient, False)
                        none_yet = False
                if none_yet:
                    gradient[:] = 0


@threaded
def forward_nchw(x, out, indices, kept, height, vertical, horizontal, strides, threads):
    """out (planes * P, Q) from x (planes * H, W); ``vertical`` is (first, count, dilation), ``horizontal`` (low, high, shift)."""
    for thread in prange(threads):
        P, W = vertical[0].size, x.shape[1]
        low, high, shift = horizontal
        begin, end = share(thread, threads, out.shape[0])
        for row in range(begin, end):
            plane, p = row // P, row % P
            best, places = out[row], indices[row if kept else int64(thread)]
            best[:], places[:] = -float("inf"), -1
            for i in range(vertical[1][p]):
                h = vertical[0][p] + i * vertical[2]
                for j in range(low.size):
                    first = low[j] * strides + shift[j]
                    pixels = x[plane * height + h][first:]
                    best_here, places_here = best[low[j] : high[j]], places[low[j] : high[j]]
                    for lane in range(best_here.size):
                        value = pixels[lane * strides]
                        place = indices.dtype.type(h * W + first + lane * strides)
                        fresh = places_here[lane] < 0
                        value, place = (value, place) if fresh else larger(best_here[lane], places_here[lane], value, place)
                        best_here[lane], places_here[lane] = value, place


@threaded
def backward_nchw(gradients, indices, out, height, vertical, horizontal, strides, threads):
    """out (planes * H, W) from gradients (planes * P, Q); ``vertical`` is (begin, windows, P), ``horizontal`` (low, high, shift)."""
    for thread in prange(threads):
        W = out.shape[1]
        low, high, shift = horizontal
        start, end = share(thread, threads, out.shape[0])
        for row in range(start, end):
            plane, h = row // height, row % height
            gradient = out[row]
            gradient[:] = 0
            for i in range(vertical[0][h], vertical[0][h + 1]):
                source = plane * vertical[2] + vertical[1][i]
                for j in range(low.size - 1, -1, -1):  # a pixel's windows from the left are its taps from the right
                    first = low[j] * strides + shift[j]
                    receivers = gradient[first:]
                    given, places = gradients[source][low[j] : high[j]], indices[source][low[j] : high[j]]
                    for lane in range(given.size):
                        here = indices.dtype.type(h * W + first + lane * strides)
                        receivers[lane * strides] += received(given[lane], places[lane], here)
