"""Sums over rows on the CPU: in parts whose number depends on the problem alone, then the sums of the parts in their order."""

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import apart, inlined, threaded
from ..cpu.elements import elements
from ..cpu.share import share, threads_for
from ..cpu.workspace import workspace
from ..problems import Rows
from . import sums

Array = np.ndarray[Any, np.dtype[Any]]

PART = 1 << 14
"""Elements: fewer are summed sooner than a second thread starts."""

PARTS = 64
"""At most so many parts: work for any number of threads, and sums of sums are short."""

of_four = inlined(sums.of_four)


@apart
@inlined
def add_rows(x, rows, channels, total):
    """total (channels,) = the sum of the ``rows`` rows, at least one, from ``x`` on."""
    for channel in range(channels):
        total[channel] = x[channel]
    fours = 1 + (rows - 1) // 4 * 4
    for row in range(1, fours, 4):
        a, b = x + row * channels, x + (row + 1) * channels
        c, d = x + (row + 2) * channels, x + (row + 3) * channels
        for channel in range(channels):
            total[channel] = of_four(total[channel], a[channel], b[channel], c[channel], d[channel])
    for row in range(fours, rows):
        a = x + row * channels
        for channel in range(channels):
            total[channel] = total[channel] + a[channel]


@threaded
def channel_sum(x, partial, threads):
    """partial (parts, channels and what fills a cache line) = the sums of equal parts of the rows of x (rows, channels)."""
    for thread in prange(threads):
        rows, channels = x.shape
        parts = partial.shape[0]
        first, end = share(thread, threads, parts)
        for part in range(first, end):
            start, stop = share(part, parts, rows)
            total = elements(partial, part * partial.shape[1])
            add_rows(elements(x, start * channels), stop - start, channels, total)


class ChannelSum:
    """``plan(x, out)``: out (channels,) = the sum of the rows of x (rows, channels)."""

    def __init__(self, problem: Rows, threads: int) -> None:
        self.problem = problem
        parts = max(1, min(PARTS, problem.rows * problem.columns // PART, problem.rows))
        self.partial = workspace(parts, problem.columns, problem.dtype)
        self.threads = threads_for(threads, parts, 1)
        self.workspace_bytes = self.partial.nbytes

    def __call__(self, x: Array, out: Array) -> Array:
        """Write the sum of the rows of ``x`` into ``out``."""
        if self.problem.rows == 0:
            out.fill(0)
            return out
        channel_sum(x, self.partial, self.threads)
        np.add.reduce(self.partial[:, : self.problem.columns], axis=0, out=out)
        return out
