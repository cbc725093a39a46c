"""Max pooling by windows on the CPU.

NHWC: the lanes are the channels of a pixel.  A window's taps are taken four at a time, the last one repeated to fill the four,
which changes nothing: each pass over the channels reads four pixels and touches the output once.
NCHW: the lanes are the outputs of a row, one pass for each tap.

Backwards every pixel looks at the windows that cover it, in their order, and takes what is meant for it: each gradient is
written once, by one thread.
"""

from numba import int64, prange

from ..cpu.compile import apart, inlined, threaded
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


@apart
@inlined
def begin(x, corner, distances, best, places, channels):
    """The largest of four pixels of the image ``x``, ``corner`` + distances, channel by channel, and which of them it is."""
    e, f, g, h = corner + distances[0], corner + distances[1], corner + distances[2], corner + distances[3]
    a, b, c, d = x + e * channels, x + f * channels, x + g * channels, x + h * channels
    kind = type(places[0])
    at_a, at_b, at_c, at_d = kind(e), kind(f), kind(g), kind(h)
    for channel in range(channels):
        value, place = larger(a[channel], at_a, b[channel], at_b)
        value, place = larger(value, place, c[channel], at_c)
        best[channel], places[channel] = larger(value, place, d[channel], at_d)


@apart
@inlined
def go_on(x, corner, distances, best, places, channels):
    """The largest so far or of four more pixels."""
    e, f, g, h = corner + distances[0], corner + distances[1], corner + distances[2], corner + distances[3]
    a, b, c, d = x + e * channels, x + f * channels, x + g * channels, x + h * channels
    kind = type(places[0])
    at_a, at_b, at_c, at_d = kind(e), kind(f), kind(g), kind(h)
    for channel in range(channels):
        value, place = larger(best[channel], places[channel], a[channel], at_a)
        value, place = larger(value, place, b[channel], at_b)
        value, place = larger(value, place, c[channel], at_c)
        best[channel], places[channel] = larger(value, place, d[channel], at_d)


@apart
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
        distances = elements(taps, int64(thread) * taps.shape[1])
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
                else:
                    begin(image, top[p] * W + left[q], distances, best, places, C)
                for tap in range(4, count, 4):
                    go_on(image, top[p] * W + left[q], distances + tap, best, places, C)


@apart
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
                i, last_row, j, last_column = row_begin[h], row_begin[h + 1], column_begin[w], column_begin[w + 1]
                if i == last_row or j == last_column:
                    for channel in range(C):
                        gradient[channel] = out.dtype.type(0)
                    continue
                source = ((n * P + row_windows[i]) * Q + column_windows[j]) * C
                receive(elements(gradients, source), elements(indices, source), here, gradient, C, True)
                while True:  # the other windows, row by row
                    j += 1
                    if j == last_column:
                        i, j = i + 1, column_begin[w]
                        if i == last_row:
                            break
                    source = ((n * P + row_windows[i]) * Q + column_windows[j]) * C
                    receive(elements(gradients, source), elements(indices, source), here, gradient, C, False)


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


@apart
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


@apart
@inlined
def receive_row(given, places, start, gradient, stride, count):
    """Add to the pixels that are one tap of a row of windows what those hold for them."""
    kind = type(places[0])
    for q in range(count):
        at = q * stride
        gradient[at] = gradient[at] + received(given[q], places[q], kind(start + at))
