"""Sums over rows on the CPU: in parts whose number depends on the problem alone, then the sums of the parts in their order."""

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import threaded
from ..cpu.elements import elements
from ..cpu.share import share, threads_for
from ..cpu.sums import add_stretch
from ..cpu.workspace import workspace
from ..problems import Rows

Array = np.ndarray[Any, np.dtype[Any]]

PART = 1 << 14
"""Elements: fewer are summed sooner than a second thread starts."""

PARTS = 64
"""At most so many parts: work for any number of threads, and sums of sums are short."""


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
            add_stretch(elements(x, start * channels), channels, stop - start, total, channels)


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
