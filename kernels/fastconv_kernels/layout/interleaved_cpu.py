"""Changing layouts of few channels on the CPU: as many vectors as there are channels, permuted among themselves.

To NHWC a vector of each channel becomes as many vectors of pixels, channel beside channel; to NCHW the other way.  Each new
vector takes lanes of all the old ones, by one shuffle of two vectors for each but the first.
"""

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.pack import in_line, interleave, part
from ..cpu.places import block
from ..cpu.share import share, threads_for
from ..cpu.tile import Tile, load_tile, pointer, store_tile
from ..problems import Transposition

Array = np.ndarray[Any, np.dtype[Any]]

MOST = 8
"""Channels: with more, square blocks take fewer shuffles."""

GRAIN = 1 << 16
"""Elements: fewer are moved sooner than a second thread starts."""


@jit
def swap_share(tile, x, out, images, pixels, to_last, thread, threads):
    """The images that are this thread's, a vector of pixels at a time; the last overlaps the one before."""
    channels, lanes, line = tile.rows, tile.lanes, in_line(tile)
    source, target = pointer(tile, x, 0), pointer(tile, out, 0)
    pieces = (pixels + lanes - 1) // lanes
    first, end = share(thread, threads, images * pieces)
    for number in range(first, end):
        image, pixel = number // pieces * channels * pixels, min(number % pieces * lanes, pixels - lanes)
        planes, packed = image + pixel, image + pixel * channels
        if to_last:
            piece = interleave(load_tile(tile, block(tile, source + planes, pixels, channels, lanes)))
            store_tile(piece, block(line, target + packed, 0, 1, line.columns))
        else:
            piece = part(load_tile(line, block(line, source + packed, 0, 1, line.columns)))
            store_tile(piece, block(tile, target + planes, pixels, channels, lanes))


@threaded
def swap(tile, x, out, images, pixels, to_last, threads):
    for thread in prange(threads):
        swap_share(tile, x, out, images, pixels, to_last, np.intp(thread), threads)


def lanes_of(problem: Transposition) -> int:
    return Tile(1, 1, problem.dtype).lanes


def refuses(problem: Transposition) -> tuple[str, ...]:
    """Why it cannot move ``problem``."""
    if not 2 <= problem.channels <= MOST:
        return (f"it moves from 2 to {MOST} channels",)
    if problem.pixels < lanes_of(problem):
        return ("an image has fewer pixels than a vector lanes",)
    return ()


class Swap:
    """``plan(x, out)``: out (N, b, a) from x (N, a, b)."""

    workspace_bytes = 0

    def __init__(self, problem: Transposition, threads: int) -> None:
        self.problem, self.tile = problem, Tile(problem.channels, 1, problem.dtype)
        self.threads = threads_for(threads, problem.images * problem.channels * problem.pixels, GRAIN)

    def __call__(self, x: Array, out: Array) -> Array:
        """Write ``x`` with its last two axes swapped into ``out``."""
        to_last = x.shape[1] == self.problem.channels  # with as many pixels as channels the way does not matter
        swap(self.tile, x, out, self.problem.images, self.problem.pixels, to_last, self.threads)
        return out
