"""Dropout on the CPU: groups of four elements, which share a counter; the ten rounds are vectorised over the groups."""

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import inlined, threaded
from ..cpu.elements import elements
from ..cpu.share import share, threads_for
from ..problems import Dropout as Problem
from . import philox

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 15
"""Elements: fewer are computed sooner than a second thread starts."""

rounds = inlined(philox.rounds)
MASK = philox.MASK


@threaded
def drop(x, out, step, keys, threshold, factors, threads):
    """``factors`` are those of what is dropped and of what is kept."""
    groups = x.size // 4
    taken, above = step[0] & MASK, (step[0] >> 32) & MASK
    for thread in prange(threads):
        first, end = share(thread, threads, groups)
        source, target = elements(x, 4 * first), elements(out, 4 * first)
        for i in range(end - first):
            group = first + i
            a, b, c, d = rounds(group & MASK, (group >> 32) & MASK, taken, above, keys[0], keys[1])
            target[4 * i] = source[4 * i] * (factors[1] if a >= threshold else factors[0])
            target[4 * i + 1] = source[4 * i + 1] * (factors[1] if b >= threshold else factors[0])
            target[4 * i + 2] = source[4 * i + 2] * (factors[1] if c >= threshold else factors[0])
            target[4 * i + 3] = source[4 * i + 3] * (factors[1] if d >= threshold else factors[0])
        if thread == threads - 1:  # what is left of a group
            source, target = elements(x, 4 * groups), elements(out, 4 * groups)
            drawn = rounds(groups & MASK, (groups >> 32) & MASK, taken, above, keys[0], keys[1])
            for i in range(x.size - 4 * groups):
                target[i] = source[i] * (factors[1] if drawn[i] >= threshold else factors[0])


class Dropout:
    """``plan(x, out, key, step)``; ``out`` may be ``x``."""

    workspace_bytes = 0

    def __init__(self, problem: Problem, threads: int) -> None:
        self.problem = problem
        self.threads = threads_for(threads, problem.size, GRAIN)
        kind = np.dtype(problem.dtype).type
        self.factors = kind(0), kind(problem.factor)

    def __call__(self, x: Array, out: Array, key: tuple[int, int], step: Array) -> Array:
        """Write what is kept of ``x``, times 1 / (1 - rate), into ``out``."""
        drop(x.reshape(-1), out.reshape(-1), step, key, self.problem.threshold, self.factors, self.threads)
        return out
