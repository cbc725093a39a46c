"""Average pooling by windows on the CPU, laid out as the maximum is: lanes are channels (NHWC) or the outputs of a row (NCHW).

Sums begin with 0 and take a window's taps, and backwards a pixel's windows, in their order, so that every kernel rounds alike.
NHWC takes four taps at a time; a row of zeros fills the last four.
"""

from numba import prange

from ..cpu.compile import inlined, threaded
from ..cpu.share import share


@inlined
def add_four(a, b, c, d, total, divisor):
    """total = (total + a + b + c + d) / divisor"""
    for lane in range(total.size):
        total[lane] = ((((total[lane] + a[lane]) + b[lane]) + c[lane]) + d[lane]) / divisor


@threaded
def forward_nhwc(x, out, zeros, divisors, images, vertical, horizontal, dilation, threads):
    """out (N * P * Q, C) from x (N * H * W, C); ``images`` is (N, H, W), ``vertical`` and ``horizontal`` are (first, count)."""
    for thread in prange(threads):
        N, H, W = images
        P, Q = divisors.shape
        one, nothing = x.dtype.type(1), zeros[0]
        begin, end = share(thread, threads, N * P)
        for row in range(begin, end):
            n, p = row // P, row % P
            for q in range(Q):
                columns = horizontal[1][q]
                count = vertical[1][p] * columns
                corner = (n * H + vertical[0][p]) * W + horizontal[0][q]
                total = out[row * Q + q]
                total[:] = 0
                i, j = 0, 0  # the next tap
                for tap in range(0, count, 4):
                    a, b, c, d = nothing, nothing, nothing, nothing
                    for place in range(min(4, count - tap)):
                        a, b, c, d = b, c, d, x[corner + i * dilation[0] * W + j * dilation[1]]
                        j += 1
                        if j == columns:
                            i, j = i + 1, 0
                    add_four(a, b, c, d, total, divisors[p, q] if tap + 4 >= count else one)


@threaded
def backward_nhwc(gradients, out, divisors, images, vertical, horizontal, threads):
    """out (N * H * W, C) from gradients (N * P * Q, C); the axes are (begin, windows), ``images`` is (N, H, W)."""
    for thread in prange(threads):
        N, H, W = images
        P, Q = divisors.shape
        start, end = share(thread, threads, N * H)
        for row in range(start, end):
            n, h = row // H, row % H
            for w in range(W):
                gradient = out[row * W + w]
                gradient[:] = 0
                for i in range(vertical[0][h], vertical[0][h + 1]):
                    for j in range(horizontal[0][w], horizontal[0][w + 1]):
                        p, q = vertical[1][i], horizontal[1][j]
                        given, divisor = gradients[(n * P + p) * Q + q], divisors[p, q]
                        for lane in range(gradient.size):
                            gradient[lane] += given[lane] / divisor


@threaded
def forward_nchw(x, out, divisors, height, vertical, horizontal, strides, threads):
    """out (planes * P, Q) from x (planes * H, W); ``vertical`` is (first, count, dilation), ``horizontal`` (low, high, shift)."""
    for thread in prange(threads):
        P = divisors.shape[0]
        low, high, shift = horizontal
        begin, end = share(thread, threads, out.shape[0])
        for row in range(begin, end):
            plane, p = row // P, row % P
            total = out[row]
            total[:] = 0
            for i in range(vertical[1][p]):
                h = vertical[0][p] + i * vertical[2]
                for j in range(low.size):
                    pixels = x[plane * height + h][low[j] * strides + shift[j] :]
                    total_here = total[low[j] : high[j]]
                    for lane in range(total_here.size):
                        total_here[lane] += pixels[lane * strides]
            for q in range(total.size):
                total[q] /= divisors[p, q]


@threaded
def backward_nchw(gradients, out, divisors, height, vertical, horizontal, strides, threads):
    """out (planes * H, W) from gradients (planes * P, Q); ``vertical`` is (begin, windows), ``horizontal`` (low, high, shift)."""
    for thread in prange(threads):
        P = divisors.shape[0]
        low, high, shift = horizontal
        start, end = share(thread, threads, out.shape[0])
        for row in range(start, end):
            plane, h = row // height, row % height
            gradient = out[row]
            gradient[:] = 0
            for i in range(vertical[0][h], vertical[0][h + 1]):
                p = vertical[1][i]
                for j in range(low.size - 1, -1, -1):  # a pixel's windows from the left are its taps from the right
                    receivers = gradient[low[j] * strides + shift[j] :]
                    given, divisor = gradients[plane * P + p][low[j] : high[j]], divisors[p][low[j] : high[j]]
                    for lane in range(given.size):
                        receivers[lane * strides] += given[lane] / divisor[lane]
