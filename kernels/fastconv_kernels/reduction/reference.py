"""Sums over rows in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problems import Rows

Array = np.ndarray[Any, np.dtype[Any]]


class ChannelSum:
    """``plan(x, out)``: out (channels,) = the sum of the rows of x (rows, channels)."""

    workspace_bytes = 0

    def __init__(self, problem: Rows, threads: int) -> None:
        self.problem, self.threads = problem, threads

    def __call__(self, x: Array, out: Array) -> Array:
        """Write the sum of the rows of ``x`` into ``out``."""
        x.sum(axis=0, out=out)
        return out
