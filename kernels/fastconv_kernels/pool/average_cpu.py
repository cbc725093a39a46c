"""Average pooling by windows on the CPU, laid out as the maximum is: lanes are channels (NHWC) or the outputs of a row (NCHW).

Sums begin with 0 and take a window's taps, and backwards a pixel's windows, in their order, so that every kernel rounds alike.
NHWC takes four taps at a time; a row of zeros fills the last four.
"""

from numba import prange

from ..cpu.compile import apart, inlined, threaded
from ..cpu.elements import elements
from ..cpu.share import share


@apart
@inlined
def add_four(x, taps, known, nothing, total, channels, divisor):
    """total = (total + four pixels) / divisor; ``nothing`` for all but the first ``known`` of ``taps``."""
    a, b = x + taps[0] * channels, x + taps[1] * channels if known > 1 else nothing
    c, d = x + taps[2] * channels if known > 2 else nothing, x + taps[3] * channels if known > 3 else nothing
    for channel in range(channels):
        total[channel] = ((((total[channel] + a[channel]) + b[channel]) + c[channel]) + d[channel]) / divisor


@apart
@inlined
def add_share(given, divisor, gradient, channels):
    """Add what one window holds for a pixel to the ``gradient`` of its channels."""
    for channel in range(channels):
        gradient[channel] = gradient[channel] + given[channel] / divisor


@threaded
def forward_nhwc(x, out, zeros, divisors, images, top, rows, left, columns, dilation, taps, threads):
    """out (N * P * Q, C) from x (N * H * W, C); ``images`` is (N, H, W), the others are tables of the windows."""
    for thread in prange(threads):
        N, H, W = images
        C, P, Q = x.shape[1], top.size, left.size
        nothing, four = elements(zeros, 0), taps[thread]
        first, end = share(thread, threads, N * P)
        for row in range(first, end):
            p = row % P
            image = elements(x, row // P * H * W * C)
            for q in range(Q):
                total = elements(out, (row * Q + q) * C)
                for channel in range(C):
                    total[channel] = x.dtype.type(0)
                count, i, j = rows[p] * columns[q], 0, 0
                for tap in range(0, count, 4):
                    for k in range(min(4, count - tap)):
                        four[k] = (top[p] + i * dilation[0]) * W + left[q] + j * dilation[1]
                        i, j = (i, j + 1) if j + 1 < columns[q] else (i + 1, 0)
                    divisor = divisors[p, q] if tap + 4 >= count else x.dtype.type(1)
                    add_four(image, four, min(4, count - tap), nothing, total, C, divisor)


@threaded
def backward_nhwc(gradients, out, divisors, images, row_begin, row_windows, column_begin, column_windows, threads):
    """out (N * H * W, C) from gradients (N * P * Q, C); ``images`` is (N, H, W), the tables say which windows cover."""
    for thread in prange(threads):
        N, H, W = images
        P, Q = divisors.shape
        C = out.shape[1]
        first, end = share(thread, threads, N * H)
        for row in range(first, end):
            n, h = row // H, row % H
            for w in range(W):
                gradient = elements(out, (row * W + w) * C)
                for channel in range(C):
                    gradient[channel] = out.dtype.type(0)
                for i in range(row_begin[h], row_begin[h + 1]):
                    for j in range(column_begin[w], column_begin[w + 1]):
                        p, q = row_windows[i], column_windows[j]
                        given, divisor = elements(gradients, ((n * P + p) * Q + q) * C), divisors[p, q]
                        add_share(given, divisor, gradient, C)


@threaded
def forward_nchw(x, out, divisors, height, top, rows, dilation, low, high, shift, stride, threads):
    """out (planes * P, Q) from x (planes * H, W); ``top``, ``rows`` are of windows, ``low``, ``high``, ``shift`` of taps."""
    for thread in prange(threads):
        P, Q = divisors.shape
        W = x.shape[1]
        first, end = share(thread, threads, out.shape[0])
        for row in range(first, end):
            plane, p = row // P, row % P
            total, divisor = elements(out, row * Q), elements(divisors, p * Q)
            for q in range(Q):
                total[q] = x.dtype.type(0)
            for i in range(rows[p]):
                h = top[p] + i * dilation
                for j in range(low.size):
                    pixels = elements(x, (plane * height + h) * W + low[j] * stride + shift[j])
                    sums = total + low[j]
                    for q in range(high[j] - low[j]):
                        sums[q] = sums[q] + pixels[q * stride]
            for q in range(Q):
                total[q] = total[q] / divisor[q]


@threaded
def backward_nchw(gradients, out, divisors, height, row_begin, row_windows, low, high, shift, stride, threads):
    """out (planes * H, W) from gradients (planes * P, Q); the tables as above."""
    for thread in prange(threads):
        P, Q = divisors.shape
        W = out.shape[1]
        first, end = share(thread, threads, out.shape[0])
        for row in range(first, end):
            plane, h = row // height, row % height
            gradient = elements(out, row * W)
            for w in range(W):
                gradient[w] = out.dtype.type(0)
            for i in range(row_begin[h], row_begin[h + 1]):
                p = row_windows[i]
                for j in range(low.size - 1, -1, -1):  # a pixel's windows from the left are its taps from the right
                    receivers = gradient + (low[j] * stride + shift[j])
                    given, divisor = elements(gradients, (plane * P + p) * Q + low[j]), elements(divisors, p * Q + low[j])
                    for q in range(high[j] - low[j]):
                        receivers[q * stride] = receivers[q * stride] + given[q] / divisor[q]
