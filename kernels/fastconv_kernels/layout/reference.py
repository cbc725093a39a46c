"""Changing layouts in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problems import Transposition

Array = np.ndarray[Any, np.dtype[Any]]


class Swap:
    """``plan(x, out)``: out (N, b, a) from x (N, a, b)."""

    workspace_bytes = 0

    def __init__(self, problem: Transposition, threads: int) -> None:
        self.problem, self.threads = problem, threads

    def __call__(self, x: Array, out: Array) -> Array:
        """Write ``x`` with its last two axes swapped into ``out``."""
        out[...] = x.swapaxes(1, 2)
        return out
