"""Activations on the CPU: two loops, compiled for each function that is used.

Their accuracy is promised in units of the last place, also of results below the smallest normal number, which count here.
"""

from typing import Any

import numpy as np
from numba import int64, prange

from ..cpu.compile import filled
from ..cpu.elements import elements
from ..cpu.past import PIECE, ask_ahead, goes_past, pass_on, passed_on
from ..cpu.share import share, threads_for
from ..cpu.workspace import workspace
from ..problems import Elementwise
from . import functions

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 15
"""Elements: fewer are computed sooner than a second thread starts."""

body = None  # the loops below are patterns, filled with one of functions.py


def forward(x, out, parameter, past, room, threads):
    for thread in prange(threads):
        first, end = share(thread, threads, x.size)
        near, piece = elements(room, int64(thread) * room.shape[1]), PIECE if past else max(1, end - first)
        for begin in range(first, end, piece):
            count, source, target = min(piece, end - begin), elements(x, begin), elements(out, begin)
            if past:
                ask_ahead(source, count)
            place = near if past else target
            for i in range(count):
                place[i] = body(source[i], parameter)
            if past:
                pass_on(near, target, count)
        if past:
            passed_on()


def backward(gradient, x, y, out, parameter, past, room, threads):
    for thread in prange(threads):
        first, end = share(thread, threads, x.size)
        near, piece = elements(room, int64(thread) * room.shape[1]), PIECE if past else max(1, end - first)
        for begin in range(first, end, piece):
            count, given, source = min(piece, end - begin), elements(gradient, begin), elements(x, begin)
            result, target = elements(y, begin), elements(out, begin)
            if past:
                ask_ahead(given, count)
            place = near if past else target
            for i in range(count):
                place[i] = body(given[i], source[i], result[i], parameter)
            if past:
                pass_on(near, target, count)
        if past:
            passed_on()


class _Loop:
    def __init__(self, problem: Elementwise, threads: int, arrays: int) -> None:
        self.problem = problem
        self.threads = threads_for(threads, problem.size, GRAIN)
        self.parameter = np.dtype(problem.dtype).type(problem.parameter)
        self.past = goes_past(arrays, problem.size, problem.dtype)
        self.room = workspace(self.threads, PIECE if self.past else 1, problem.dtype)
        self.workspace_bytes = self.room.nbytes
        self.rest = self.parameter, self.past, self.room, self.threads


class Forward(_Loop):
    """``plan(x, out)``; ``out`` may be ``x``."""

    def __init__(self, problem: Elementwise, threads: int) -> None:
        super().__init__(problem, threads, 2)
        self.loop = filled(forward, getattr(functions, problem.function), gradual=True)

    def __call__(self, x: Array, out: Array) -> Array:
        """Write the function of ``x`` into ``out``."""
        self.loop(x.reshape(-1), out.reshape(-1), *self.rest)
        return out


class BackwardInput(_Loop):
    """``plan(grad_output, x, y, out)``; ``out`` may be any of the others."""

    def __init__(self, problem: Elementwise, threads: int) -> None:
        super().__init__(problem, threads, 3)
        self.loop = filled(backward, getattr(functions, problem.function + "_backward"), gradual=True)

    def __call__(self, grad_output: Array, x: Array, y: Array, out: Array) -> Array:
        """Write ``grad_output`` times the derivative at ``x`` into ``out``."""
        self.loop(grad_output.reshape(-1), x.reshape(-1), y.reshape(-1), out.reshape(-1), *self.rest)
        return out
