"""Max pooling by windows on the CPU.

NHWC: the lanes are the channels of a pixel.  A window's taps are taken four at a time, the last one repeated to fill the four,
which changes nothing: each pass over the channels reads four pixels and touches the output once.
NCHW: the lanes are the outputs of a row, one pass for each tap.

Backwards every pixel looks at the windows that cover it, in their order, and takes what is meant for it: each gradient is
written once, by one thread.
"""

from numba import int64, prange

from ..cpu.compile import inlined, threaded
from ..cpu.elements import elements
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
    while count % 4:
        taps[count] = taps[count - 1]
        count += 1
    return count


@inlined
def begin(x, at, best, places, channels):
    """The largest of the pixels at[0] … at[3] of the image ``x``, channel by channel, and which of them it is."""
    a, b, c, d = x + at[0] * channels, x + at[1] * channels, x + at[2] * channels, x + at[3] * channels
    kind = type(places[0])
    at_a, at_b, at_c, at_d = kind(at[0]), kind(at[1]), kind(at[2]), kind(at[3])
    for channel in range(channels):
        value, place = larger(a[channel], at_a, b[channel], at_b)
        value, place = larger(value, place, c[channel], at_c)
        best[channel], places[channel] = larger(value, place, d[channel], at_d)


@inlined
def go_on(x, at, best, places, channels):
    """The largest so far or of four more pixels."""
    a, b, c, d = x + at[0] * channels, x + at[1] * channels, x + at[2] * channels, x + at[3] * channels
    kind = type(places[0])
    at_a, at_b, at_c, at_d = kind(at[0]), kind(at[1]), kind(at[2]), kind(at[3])
    for channel in range(channels):
        value, place = larger(best[channel], places[channel], a[channel], at_a)
        value, place = larger(value, place, b[channel], at_b)
        value, place = larger(value, place, c[channel], at_c)
        best[channel], places[channel] = larger(value, place, d[channel], at_d)


@inlined
def none(best, places, lanes):
    """Of no pixel at all the largest is -infinity, and nowhere."""
    for lane in range(lanes):
        best[lane], places[lane] = type(best[0])(-float("inf")), type(places[0])(-1)


@threaded
def forward_nhwc(x, out, indices, kept, images, top, rows, left, columns, dilation, taps, threads):
    """out (N * P * Q, C) from x (N * H * W, C); ``images`` is (N, H, W), the others are tables of the windows."""
    for thread in prange(threads):
        N, H, W = images
        C, P, Q = x.shape[1], top.size, left.size
        at, distances = elements(taps, int64(thread) * taps.shape[1]), elements(taps, int64(thread) * taps.shape[1] + 4)
        listed, count = (int64(0), int64(0)), int64(0)
        first, end = share(thread, threads, N * P)
        for row in range(first, end):
            p = row % P
            image = elements(x, row // P * H * W * C)
            for q in range(Q):
                if listed != (rows[p], columns[q]):
                    listed = rows[p], columns[q]
                    count = list_taps(distances, rows[p], columns[q], dilation[0] * W, dilation[1])
                place = row * Q + q
                best, places = elements(out, place * C), elements(indices, (place if kept else int64(thread)) * C)
                if count == 0:
                    none(best, places, C)
                for tap in range(0, count, 4):
                    for i in range(4):
                        at[i] = top[p] * W + left[q] + distances[tap + i]
                    if tap == 0:
                        begin(image, at, best, places, C)
                    else:
                        go_on(image, at, best, places, C)


@inlined
def receive(given, places, here, gradient, channels, first):
    """Add to the ``gradient`` of the channels of pixel ``here`` what one window holds for them; begin with it if ``first``."""
    for channel in range(channels):
        share_of_window = received(given[channel], places[channel], here)
        gradient[channel] = share_of_window if first else gradient[channel] + share_of_window


@threaded
def backward_nhwc(gradients, indices, out, images, row_begin, row_windows, column_begin, column_windows, threads):
    """out (N * H * W, C) from gradients (N * P * Q, C); ``images`` is (N, H, W, P, Q), the tables say which windows cover."""
    for thread in prange(threads):
        N, H, W, P, Q = images
        C = out.shape[1]
        first, end = share(thread, threads, N * H)
        for row in range(first, end):
            n, h = row // H, row % H
            for w in range(W):
                here = indices.dtype.type(h * W + w)
                gradient = elements(out, (row * W + w) * C)
                missing = True
                for i in range(row_begin[h], row_begin[h + 1]):
                    for j in range(column_begin[w], column_begin[w + 1]):
                        source = ((n * P + row_windows[i]) * Q + column_windows[j]) * C
                        if missing:
                            receive(elements(gradients, source), elements(indices, source), here, gradient, C, True)
                        else:
                            receive(elements(gradients, source), elements(indices, source), here, gradient, C, False)
                        missing = False
                if missing:
                    for channel in range(C):
                        gradient[channel] = out.dtype.type(0)


@threaded
def forward_nchw(x, out, indices, kept, height, top, rows, dilation, low, high, shift, stride, threads):
    """out (planes * P, Q) from x (planes * H, W); ``top``, ``rows`` are of windows, ``low``, ``high``, ``shift`` of taps."""
    for thread in prange(threads):
        P, Q, W = top.size, out.shape[1], x.shape[1]
        first, end = share(thread, threads, out.shape[0])
        for row in range(first, end):
            plane, p = row // P, row % P
            best, places = elements(out, row * Q), elements(indices, (row if kept else int64(thread)) * Q)
            none(best, places, Q)
            for i in range(rows[p]):
                h = top[p] + i * dilation
                for j in range(low.size):
                    start = low[j] * stride + shift[j]
                    pixels = elements(x, (plane * height + h) * W + start)
                    fold_row(pixels, stride, h * W + start, best + low[j], places + low[j], high[j] - low[j])


@inlined
def fold_row(pixels, stride, start, best, places, count):
    """Fold one tap of the windows of a row into them."""
    kind = type(places[0])
    for q in range(count):
        value, place = pixels[q * stride], kind(start + q * stride)
        largest, there = larger(best[q], places[q], value, place)
        fresh = places[q] < kind(0)  # even -infinity is more than nothing
        best[q], places[q] = (value if fresh else largest), (place if fresh else there)


@threaded
def backward_nchw(gradients, indices, out, height, outputs, row_begin, row_windows, low, high, shift, stride, threads):
    """out (planes * H, W) from gradients (planes * P, Q); ``outputs`` is P, the tables as above."""
    for thread in prange(threads):
        W, Q = out.shape[1], gradients.shape[1]
        first, end = share(thread, threads, out.shape[0])
        for row in range(first, end):
            plane, h = row // height, row % height
            gradient = elements(out, row * W)
            for w in range(W):
                gradient[w] = out.dtype.type(0)
            for i in range(row_begin[h], row_begin[h + 1]):
                source = (plane * outputs + row_windows[i]) * Q
                for j in range(low.size - 1, -1, -1):  # a pixel's windows from the left are its taps from the right
                    start = low[j] * stride + shift[j]
                    given, places = elements(gradients, source + low[j]), elements(indices, source + low[j])
                    receive_row(given, places, h * W + start, gradient + start, stride, high[j] - low[j])


@inlined
def receive_row(given, places, start, gradient, stride, count):
    """Add to the pixels that are one tap of a row of windows what those hold for them."""
    kind = type(places[0])
    for q in range(count):
        at = q * stride
        gradient[at] = gradient[at] + received(given[q], places[q], kind(start + at))
