"""Changing layouts in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problems import Gather, Transposition

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


class Gathered:
    """``plan(images, indices, out)``: out (n, pixels, channels) from some of the images (N, channels, pixels)."""

    workspace_bytes = 0

    def __init__(self, problem: Gather, threads: int) -> None:
        self.problem, self.threads = problem, threads

    def __call__(self, images: Array, indices: Array, out: Array) -> Array:
        """Write the images at ``indices``, converted and times the scale, into ``out``."""
        np.copyto(out, images[indices].swapaxes(1, 2), casting="same_kind")
        out *= out.dtype.type(self.problem.scale)
        return out
