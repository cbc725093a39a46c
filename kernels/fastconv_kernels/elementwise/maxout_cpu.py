"""Maxout on the CPU: each thread has its images."""

from typing import Any

import numpy as np
from numba import int64, prange

from ..cpu.compile import inlined, threaded
from ..cpu.elements import elements
from ..cpu.share import share, threads_for
from ..problems import Maxout
from . import functions

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 15
"""Elements: fewer are computed sooner than a second thread starts."""

larger = inlined(functions.larger)


@threaded
def maxout(x, out, channels, inner, pieces, threads):
    """out (channels, inner) from x (channels, pieces, inner); ``channels`` counts those of all images."""
    for thread in prange(threads):
        first, end = share(thread, threads, channels)
        for channel in range(first, end):
            source, best = elements(x, channel * pieces * inner), elements(out, channel * inner)
            for i in range(inner):
                value = source[i]
                for piece in range(1, pieces):
                    value = larger(value, source[piece * inner + i])
                best[i] = value


@threaded
def maxout_backward(gradient, x, out, channels, inner, pieces, threads):
    """out (channels, pieces, inner) from gradient (channels, inner)."""
    for thread in prange(threads):
        first, end = share(thread, threads, channels)
        for channel in range(first, end):
            source, target = elements(x, channel * pieces * inner), elements(out, channel * pieces * inner)
            given = elements(gradient, channel * inner)
            for i in range(inner):
                value, winner = source[i], int64(0)
                for piece in range(1, pieces):
                    challenger = source[piece * inner + i]
                    if value == value and (
                        challenger > value or challenger != challenger
                    ):  # the first of equals, the first NaN
                        value, winner = challenger, piece
                for piece in range(pieces):
                    target[piece * inner + i] = given[i] if piece == winner else x.dtype.type(0)


class _Maxout:
    workspace_bytes = 0

    def __init__(self, problem: Maxout, threads: int) -> None:
        self.problem = problem
        channels = problem.outer * problem.channels
        self.threads = threads_for(threads, channels * problem.inner * problem.pieces, GRAIN)
        self.sizes = channels, problem.inner, problem.pieces, self.threads


class MaxoutForward(_Maxout):
    """``plan(x, out)``"""

    def __call__(self, x: Array, out: Array) -> Array:
        """Write the largest of each channel's pieces into ``out``."""
        maxout(x.reshape(-1), out.reshape(-1), *self.sizes)
        return out


class MaxoutBackwardInput(_Maxout):
    """``plan(grad_output, x, out)``"""

    def __call__(self, grad_output: Array, x: Array, out: Array) -> Array:
        """Write each gradient to the piece that was the first largest (NaN is larger than all), zeros to the others."""
        maxout_backward(grad_output.reshape(-1), x.reshape(-1), out.reshape(-1), *self.sizes)
        return out
