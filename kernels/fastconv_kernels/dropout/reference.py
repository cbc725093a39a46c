"""Dropout in NumPy: Philox4x32-10 on whole arrays of counters, as its paper has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problems import Dropout as Problem

Array = np.ndarray[Any, np.dtype[Any]]
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox(counters: Array, key: tuple[int, int]) -> Array:
    """Random words of 32 bits (n, 4) for the counters (n, 4), all uint64.

    Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.
    """
    a, b, c, d = counters.T.astype(np.uint64)
    k0, k1 = (np.uint64(word) for word in key)
    for _ in range(10):
        first, second = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b, c, d = (second >> HALF) ^ b ^ k0, second & LOW, (first >> HALF) ^ d ^ k1, first & LOW
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & LOW, (k1 + np.uint64(0xBB67AE85)) & LOW
    return np.stack([a, b, c, d], 1)


class Dropout:
    """``plan(x, out, key, step)``"""

    workspace_bytes = 0

    def __init__(self, problem: Problem, threads: int) -> None:
        self.problem, self.threads = problem, threads

    def __call__(self, x: Array, out: Array, key: tuple[int, int], step: Array) -> Array:
        """Write what is kept of ``x``, times 1 / (1 - rate), into ``out``."""
        groups = np.arange(-(-self.problem.size // 4), dtype=np.uint64)
        halves = [np.full_like(groups, word) for word in (int(step[0]) & int(LOW), int(step[0]) >> 32)]
        drawn = philox(np.stack([groups & LOW, groups >> HALF, *halves], 1), key).ravel()[: self.problem.size]
        factors = np.where(drawn >= self.problem.threshold, self.problem.factor, 0).astype(x.dtype)
        np.multiply(x, factors.reshape(x.shape), out=out)
        return out
