"""Activations on the CPU: two loops, compiled for each function that is used."""

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import filled
from ..cpu.elements import elements
from ..cpu.share import share, threads_for
from ..problems import Elementwise
from . import functions

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 15
"""Elements: fewer are computed sooner than a second thread starts."""

body = None  # the loops below are patterns, filled with one of functions.py


def forward(x, out, parameter, threads):
    for thread in prange(threads):
        first, end = share(thread, threads, x.size)
        source, target = elements(x, first), elements(out, first)
        for i in range(end - first):
            target[i] = body(source[i], parameter)


def backward(gradient, x, y, out, parameter, threads):
    for thread in prange(threads):
        first, end = share(thread, threads, x.size)
        given, source = elements(gradient, first), elements(x, first)
        result, target = elements(y, first), elements(out, first)
        for i in range(end - first):
            target[i] = body(given[i], source[i], result[i], parameter)


class _Loop:
    workspace_bytes = 0

    def __init__(self, problem: Elementwise, threads: int) -> None:
        self.problem = problem
        self.threads = threads_for(threads, problem.size, GRAIN)
        self.parameter = np.dtype(problem.dtype).type(problem.parameter)


class Forward(_Loop):
    """``plan(x, out)``; ``out`` may be ``x``."""

    def __init__(self, problem: Elementwise, threads: int) -> None:
        super().__init__(problem, threads)
        self.loop = filled(forward, getattr(functions, problem.function))

    def __call__(self, x: Array, out: Array) -> Array:
        """Write the function of ``x`` into ``out``."""
        self.loop(x.reshape(-1), out.reshape(-1), self.parameter, self.threads)
        return out


class BackwardInput(_Loop):
    """``plan(grad_output, x, y, out)``; ``out`` may be any of the others."""

    def __init__(self, problem: Elementwise, threads: int) -> None:
        super().__init__(problem, threads)
        self.loop = filled(backward, getattr(functions, problem.function + "_backward"))

    def __call__(self, grad_output: Array, x: Array, y: Array, out: Array) -> Array:
        """Write ``grad_output`` times the derivative at ``x`` into ``out``."""
        self.loop(grad_output.reshape(-1), x.reshape(-1), y.reshape(-1), out.reshape(-1), self.parameter, self.threads)
        return out
