"""The plans of pooling by windows on the CPU: tables and scratch, and which compiled loop runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cpu.share import threads_for
from ..cpu.workspace import workspace
from ..problems import Pool
from . import average_cpu, max_cpu
from .tables import axis, divisors

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 15
"""Taps: fewer take less time (about 10 microseconds) than a second thread saves."""


class _Windows:
    """What both directions have in common: the tables of the axes."""

    def __init__(self, problem: Pool, threads: int) -> None:
        self.problem = problem
        self.threads = threads_for(threads, problem.flops, GRAIN)
        self.vertical, self.horizontal = axis(problem, 0), axis(problem, 1)
        self.divisors = divisors(problem, self.vertical, self.horizontal)
        self.images = problem.N, problem.H, problem.W
        self.low_high_shift = self.horizontal.low, self.horizontal.high, self.horizontal.shift

    def _rows(self, images: Array) -> Array:
        """As a matrix, whose rows are the pixels (NHWC) or the rows of the planes (NCHW)."""
        return images.reshape(-1, images.shape[-1])


class Forward(_Windows):
    """``plan(x, out, indices=None)``"""

    def __init__(self, problem: Pool, threads: int) -> None:
        super().__init__(problem, threads)
        lanes = problem.out_shape[3]
        fours = -(-problem.R * problem.S // 4) * 4
        self.taps = workspace(self.threads, fours + 4, np.int64)[:, : fours + 4]
        # Where positions go that nobody asked for: cheaper than compiling every loop twice.
        self.unwanted = np.zeros((self.threads, lanes), np.int32)
        self.zeros = np.zeros((1, lanes), problem.dtype)
        self.firsts = (self.vertical.first, self.vertical.count), (self.horizontal.first, self.horizontal.count)
        self.first_count_dilation = (*self.firsts[0], problem.dilation[0])
        self.workspace_bytes = self.taps.nbytes + self.unwanted.nbytes + self.zeros.nbytes

    def __call__(self, x: Array, out: Array, indices: Array | None = None) -> Array:
        """Write the pooled images into ``out``, and where the maxima are into ``indices``, int32 or int64."""
        problem, pixels, pooled, threads = self.problem, self._rows(x), self._rows(out), self.threads
        across = self.low_high_shift, problem.stride[1], threads
        if problem.mode == "average":
            if problem.layout == "NHWC":
                tables = self.images, *self.firsts, problem.dilation, threads
                average_cpu.forward_nhwc(pixels, pooled, self.zeros, self.divisors, *tables)
            else:
                average_cpu.forward_nchw(pixels, pooled, self.divisors, problem.H, self.first_count_dilation, *across)
            return out
        kept = indices is not None
        places = self._rows(indices) if indices is not None else self.unwanted
        if problem.layout == "NHWC":
            tables = self.images, *self.firsts, problem.dilation, self.taps, threads
            max_cpu.forward_nhwc(pixels, pooled, places, kept, *tables)
        else:
            max_cpu.forward_nchw(pixels, pooled, places, kept, problem.H, self.first_count_dilation, *across)
        return out


class BackwardInput(_Windows):
    """``plan(grad_output, indices, out)`` of a maximum, ``plan(grad_output, out)`` of an average."""

    workspace_bytes = 0

    def __init__(self, problem: Pool, threads: int) -> None:
        super().__init__(problem, threads)
        self.covering = (self.vertical.begin, self.vertical.windows), (self.horizontal.begin, self.horizontal.windows)
        self.covering_rows = (*self.covering[0], problem.P)
        self.sizes = (*self.images, problem.P, problem.Q)

    def __call__(self, grad_output: Array, *indices_and_out: Array) -> Array:
        """Write the gradient of the input into ``out``, each element once."""
        problem, threads, out = self.problem, self.threads, indices_and_out[-1]
        given, gradient = self._rows(grad_output), self._rows(out)
        across = self.low_high_shift, problem.stride[1], threads
        if problem.mode == "average":
            if problem.layout == "NHWC":
                average_cpu.backward_nhwc(given, gradient, self.divisors, self.images, *self.covering, threads)
            else:
                average_cpu.backward_nchw(given, gradient, self.divisors, problem.H, self.covering[0], *across)
            return out
        places = self._rows(indices_and_out[0])
        if problem.layout == "NHWC":
            max_cpu.backward_nhwc(given, places, gradient, self.sizes, *self.covering, threads)
        else:
            max_cpu.backward_nchw(given, places, gradient, problem.H, self.covering_rows, *across)
        return out
