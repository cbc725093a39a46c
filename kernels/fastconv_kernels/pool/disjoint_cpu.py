"""The gradient of average pooling whose windows do not overlap, on the CPU: every pixel takes one window's share, or nothing.

The shares of a row of windows are formed once, side by side, with a zero behind them.  A row of pixels then is a row of them
in another order, which a table has: the same one for all rows, of channels last and of planes alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import apart, inlined, threaded
from ..cpu.elements import elements
from ..cpu.share import share, threads_for
from ..cpu.simd import register_bytes
from ..cpu.workspace import workspace
from ..problems import Pool
from .tables import axis, divisors, uneven

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 16
"""Elements of the image's gradient: fewer take less time (about 5 microseconds) than a second thread saves."""


@apart
@inlined
def quotients_of(given, areas, shares, count):
    """shares = given / areas."""
    for i in range(count):
        shares[i] = given[i] / areas[i]


@apart
@inlined
def in_order(shares, order, row, count):
    """row[i] = shares[order[i]]."""
    for i in range(count):
        row[i] = shares[order[i]]


@threaded
def backward(gradients, out, areas, windows, order, shares, images, threads):
    """out (images * H, W * C) from gradients (images * P, Q * C).

    areas: (P, Q * C) that are divided by; windows: for each row of pixels its row of windows, or -1; order: for each element
    of a row of pixels its place in ``shares``, of which every thread has a row that ends with zeros
    """
    for thread in prange(threads):
        H, P, count, pixels = windows.size, areas.shape[0], areas.shape[1], order.size
        own, table = elements(shares, thread * shares.shape[1]), elements(order, 0)
        first, end = share(thread, threads, images)
        for n in range(first, end):
            known = -1
            for h in range(H):
                row, p = elements(out, (n * H + h) * pixels), windows[h]
                if p < 0:
                    for i in range(pixels):
                        row[i] = out.dtype.type(0)
                else:
                    if p != known:
                        quotients_of(elements(gradients, (n * P + p) * count), elements(areas, p * count), own, count)
                        known = p
                    in_order(own, table, row, pixels)


def refuses(problem: Pool) -> tuple[str, ...]:
    """Why it cannot compute the gradient of ``problem``."""
    if problem.mode != "average":
        return ("a maximum is one pixel's alone",)
    for size, stride, dilation in zip((problem.R, problem.S), problem.stride, problem.dilation, strict=True):
        if (size - 1) * dilation >= stride:
            return ("windows overlap",)
    return uneven(problem)


def declines(problem: Pool) -> tuple[str, ...]:
    """Why another kernel should compute it.

    Measured, windows of 2 x 2 on 28 x 28: of 6 channels it takes a quarter of the time of ``windows``, of 32 a tenth more, of
    64 twice as long.
    """
    if problem.layout == "NHWC" and problem.C * np.dtype(problem.dtype).itemsize >= register_bytes():
        return ("the channels of a pixel fill a vector, which is faster moved as a whole",)
    return ()


class BackwardInput:
    """``plan(grad_output, out)`` of an average."""

    def __init__(self, problem: Pool, threads: int) -> None:
        self.problem = problem
        down, across = axis(problem, 0), axis(problem, 1)
        channels = problem.C if problem.layout == "NHWC" else 1
        self.images = problem.N if problem.layout == "NHWC" else problem.N * problem.C
        self.areas = np.repeat(divisors(problem, down, across), channels, axis=1)
        self.windows, columns = (
            np.where(np.diff(each.begin) > 0, each.covering[0], -1).astype(np.int64) for each in (down, across)
        )
        count = problem.Q * channels
        places = columns[:, None] * channels + np.arange(channels)
        self.order = np.where(columns[:, None] < 0, count, places).astype(np.int32).reshape(-1)
        self.threads = max(1, min(threads_for(threads, self.images * problem.H * self.order.size, GRAIN), self.images))
        self.shares = workspace(self.threads, count + 1, problem.dtype)
        self.workspace_bytes = self.shares.nbytes

    def __call__(self, grad_output: Array, out: Array) -> Array:
        """Write the gradient of the input into ``out``, each image or plane by one thread."""
        tables = self.areas, self.windows, self.order, self.shares
        backward(grad_output.reshape(-1), out.reshape(-1), *tables, self.images, self.threads)
        return out
