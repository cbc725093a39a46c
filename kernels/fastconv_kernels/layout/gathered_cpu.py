"""Batches from a data set on the CPU: gathered, converted and brought into the network's layout in one pass.

    out[image, pixel, channel] = scale * images[indices[image], channel, pixel]

A thread brings the images that it computes with afterwards: they are in its cache already.
"""

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import apart, jit, threaded
from ..cpu.elements import elements
from ..cpu.share import share, threads_for
from ..problems import Gather

Array = np.ndarray[Any, np.dtype[Any]]

SOURCES = "uint8", "float32", "float64"

GRAIN = 1 << 15
"""Elements: fewer are brought sooner than a second thread starts."""


@apart
@jit
def bring(image, channels, pixels, scale, out):
    """One image; of one channel, side by side."""
    if channels == 1:
        for i in range(pixels):
            out[i] = image[i] * scale
    else:
        for channel in range(channels):
            plane, column = image + channel * pixels, out + channel
            for pixel in range(pixels):
                column[pixel * channels] = plane[pixel] * scale


@threaded
def gather(images, indices, out, shape, scale, threads):
    for thread in prange(threads):
        channels, pixels = shape
        size = channels * pixels
        first, end = share(thread, threads, indices.size)
        for i in range(first, end):
            bring(elements(images, indices[i] * size), channels, pixels, scale, elements(out, i * size))


class Gathered:
    """``plan(images, indices, out)``"""

    workspace_bytes = 0

    def __init__(self, problem: Gather, threads: int) -> None:
        self.problem = problem
        self.threads = threads_for(threads, problem.images * problem.channels * problem.pixels, GRAIN)
        self._scale = np.dtype(problem.dtype).type(problem.scale)

    def __call__(self, images: Array, indices: Array, out: Array) -> Array:
        """Write the ``images`` (N, channels, pixels) at ``indices`` (n,) int64, times the scale, into ``out``.

        All C-contiguous; an index that is none of the images' is not looked for.
        """
        gather(images, indices, out, (self.problem.channels, self.problem.pixels), self._scale, self.threads)
        return out


def refuses(problem: Gather) -> tuple[str, ...]:
    """Why ``problem`` cannot be computed."""
    return () if problem.source in SOURCES else (f"it reads {', '.join(SOURCES)}",)
