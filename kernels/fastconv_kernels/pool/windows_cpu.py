"""The plans of pooling by windows on the CPU: tables and scratch, and which compiled loop runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cpu.share import threads_for
from ..cpu.workspace import workspace
from ..problems import Pool
from . import average_cpu, max_cpu
from .tables import axis, divisors, uneven

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 15
"""Taps: fewer take less time (about 10 microseconds) than a second thread saves."""


def refuses(problem: Pool) -> tuple[str, ...]:
    """Why it cannot compute ``problem``, in either direction: rows of planes are taken tap by tap."""
    return uneven(problem) if problem.layout == "NCHW" else ()


class _Windows:
    """What both directions have in common: the tables of the axes."""

    def __init__(self, problem: Pool, threads: int) -> None:
        self.problem = problem
        self.threads = threads_for(threads, problem.flops, GRAIN)
        self.vertical, self.horizontal = axis(problem, 0), axis(problem, 1)
        self.divisors = divisors(problem, self.vertical, self.horizontal)
        self.images = problem.N, problem.H, problem.W
        across = self.horizontal
        self.across = across.low, across.high, across.shift, problem.stride[1], self.threads


def _rows(images: Array) -> Array:
    """As a matrix, whose rows are the pixels (NHWC) or the rows of the planes (NCHW)."""
    N, first, second, lanes = images.shape
    return images.reshape(N * first * second, lanes)


class Forward(_Windows):
    """``plan(x, out, indices=None)``"""

    def __init__(self, problem: Pool, threads: int) -> None:
        super().__init__(problem, threads)
        down, across, lanes = self.vertical, self.horizontal, problem.out_shape[3]
        self.taps = workspace(self.threads, -(-problem.R * problem.S // 4) * 4, np.int64)
        # Where positions go that nobody asked for: cheaper than compiling every loop twice.
        self.unwanted = np.zeros((self.threads, lanes), np.int32)
        self.zeros = np.zeros(lanes, problem.dtype)
        self.windows = (
            self.images,
            down.first,
            down.count,
            across.first,
            across.count,
            problem.dilation,
            self.taps,
            self.threads,
        )
        self.rows = problem.H, down.first, down.count, problem.dilation[0], *self.across
        self.workspace_bytes = self.taps.nbytes + self.unwanted.nbytes + self.zeros.nbytes

    def __call__(self, x: Array, out: Array, indices: Array | None = None) -> Array:
        """Write the pooled images into ``out``, and where the maxima are into ``indices``, int32 or int64."""
        pixels, pooled, channels_last = _rows(x), _rows(out), self.problem.layout == "NHWC"
        if self.problem.mode == "average":
            if channels_last:
                average_cpu.forward_nhwc(pixels, pooled, self.zeros, self.divisors, *self.windows)
            else:
                average_cpu.forward_nchw(pixels, pooled, self.divisors, *self.rows)
            return out
        places = self.unwanted if indices is None else _rows(indices)
        if channels_last:
            max_cpu.forward_nhwc(pixels, pooled, places, indices is not None, *self.windows)
        else:
            max_cpu.forward_nchw(pixels, pooled, places, indices is not None, *self.rows)
        return out


class BackwardInput(_Windows):
    """``plan(grad_output, indices, out)`` of a maximum, ``plan(grad_output, out)`` of an average."""

    workspace_bytes = 0

    def __init__(self, problem: Pool, threads: int) -> None:
        super().__init__(problem, threads)
        self.down = self.vertical.begin, self.vertical.windows
        self.covering = *self.down, self.horizontal.begin, self.horizontal.windows, self.threads

    def __call__(self, grad_output: Array, *indices_and_out: Array) -> Array:
        """Write the gradient of the input into ``out``, each element by one thread."""
        problem, out = self.problem, indices_and_out[-1]
        given, gradient, channels_last = _rows(grad_output), _rows(out), problem.layout == "NHWC"
        if problem.mode == "average":
            if channels_last:
                average_cpu.backward_nhwc(given, gradient, self.divisors, self.images, *self.covering)
            else:
                average_cpu.backward_nchw(given, gradient, self.divisors, problem.H, *self.down, *self.across)
            return out
        places = _rows(indices_and_out[0])
        if channels_last:
            sizes = *self.images, problem.P, problem.Q
            max_cpu.backward_nhwc(given, places, gradient, sizes, *self.covering)
        else:
            max_cpu.backward_nchw(given, places, gradient, problem.H, problem.P, *self.down, *self.across)
        return out
