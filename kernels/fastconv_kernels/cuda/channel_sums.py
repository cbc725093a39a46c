"""Sums for each channel of images or of a matrix: in parts fixed by the problem, added in a fixed order.

    block (part, channels)     a part of the rows, ``across`` channels side by side, a power of two up to 32
      thread                   one channel, every ``lines``-th row, four at a time so that four loads are under way
      warp                     lanes of the same channel add up by exchanges
      block                    meets; then one thread for each channel adds what the warps have left in shared memory
    second launch              the same kernel adds the parts, which are a matrix with a row for each

A row is a pixel.  In NHWC neighbours in memory are channels, so that a warp has 32 of them; in NCHW they are the pixels of a
plane, so that a whole block has one channel.  What is summed are functions of an element, its ``terms``.
No atomics: the order of additions follows from the problem alone, and so do the bits.

Source: Harris, "Optimizing Parallel Reduction in CUDA", NVIDIA, 2007.
"""

from functools import cache
from typing import NamedTuple

from numba import cuda, float32, int32, types

from .arrays import view
from .asm import SIMULATED
from .build import device, kernel, numbers
from .grid import MOST_BLOCKS
from .integers import divide
from .launch import start
from .memory import at, meet_block
from .unrolling import unroll
from .warp import LANES, exchange
from .workspace import Workspace

FLOATS = types.CPointer(float32)
THREADS = 64 if SIMULATED else 256
WARPS = THREADS // LANES
AHEAD = 4
"""Rows whose loads are under way at once."""

PART = 16
"""Rows at least of each thread: fewer take less time than the second launch."""


class Channels(NamedTuple):
    """The geometry: ``rows`` pixels of ``channels``, ``pixels`` of them an image; how far apart neighbours are in memory."""

    rows: int
    channels: int
    pixels: int
    image_step: int
    pixel_step: int
    channel_step: int
    part: int
    across: int


def of_matrix(rows, channels):
    """(pixels, image_step, pixel_step, channel_step) of a matrix, or of images in NHWC."""
    return max(1, rows), 0, channels, 1


def of_planes(channels, pixels):
    """The same of images in NCHW."""
    return max(1, pixels), channels * pixels, 1, pixels


@device
def lane_sum(total, other, across):
    """total[0] += that of all lanes of the warp that have the same channel."""
    distance = LANES // 2
    while distance >= across:
        exchange(at(other, 0), at(total, 0), distance)
        total[0] += other[0]
        distance //= 2


@cache
def channel_sums(terms, reads, count):
    """The kernel (a, b, c, given, out): out (parts, ``count``, channels) of the first ``reads`` of a, b, c.

    ``terms(values, results, given, channel)`` makes the terms of one element; ``given`` is what belongs to channels.
    """
    values_count, results_count, shared_count = AHEAD * reads, AHEAD * count, count * THREADS

    @kernel(types.void(*[FLOATS] * 5, numbers(Channels)), threads=THREADS, blocks=2)
    def run(a, b, c, given, out, g):
        shared = cuda.shared.array(shared_count, float32)
        values, results = cuda.local.array(values_count, float32), cuda.local.array(results_count, float32)
        sums, other, quotient = cuda.local.array(count, float32), cuda.local.array(1, float32), cuda.local.array(1, int32)
        arrays, thread = (a, b, c), cuda.threadIdx.x
        divide(at(quotient, 0), g.channels + g.across - 1, g.across)
        groups = quotient[0]
        divide(at(quotient, 0), cuda.blockIdx.x, groups)
        part = quotient[0]
        divide(at(quotient, 0), thread, g.across)
        line, lane = quotient[0], thread - quotient[0] * g.across
        channel = (cuda.blockIdx.x - part * groups) * g.across + lane
        divide(at(quotient, 0), THREADS, g.across)
        lines = quotient[0]
        end = min(g.rows, (part + 1) * g.part)
        first = part * g.part + line
        divide(at(quotient, 0), first, g.pixels)
        image, pixel = quotient[0], first - quotient[0] * g.pixels
        divide(at(quotient, 0), lines, g.pixels)  # what the next row of this thread is further by
        images, pixels = quotient[0], lines - quotient[0] * g.pixels
        for j in unroll(count):
            sums[j] = 0

        if channel < g.channels:
            for row in range(first, end, AHEAD * lines):
                start_of_row = image * g.image_step + pixel * g.pixel_step
                for i in unroll(AHEAD):
                    place = start_of_row  # a row that does not exist is read in place of one beyond the end, and not added
                    if row + i * lines < end:
                        place = image * g.image_step + pixel * g.pixel_step
                    for array in unroll(reads):
                        values[reads * i + array] = arrays[array][place + channel * g.channel_step]
                    image, pixel = image + images, pixel + pixels
                    if pixel >= g.pixels:
                        image, pixel = image + 1, pixel - g.pixels
                for i in unroll(AHEAD):
                    terms(at(values, reads * i), at(results, count * i), given, channel)
                    if row + i * lines >= end:
                        for j in unroll(count):
                            results[count * i + j] = 0
                for j in unroll(count):
                    sums[j] += (results[j] + results[count + j]) + (results[2 * count + j] + results[3 * count + j])

        for j in unroll(count):
            lane_sum(at(sums, j), at(other, 0), g.across)
            shared[j * THREADS + thread] = sums[j]
        meet_block()  # the sums of every warp are there
        if thread < g.across and channel < g.channels:
            for j in unroll(count):
                total = shared[j * THREADS + thread]
                for warp in range(1, WARPS):
                    total += shared[j * THREADS + warp * LANES + thread]
                out[(part * count + j) * g.channels + channel] = total

    return run


@device
def itself(values, results, given, channel):
    """The term of a plain sum."""
    results[0] = values[0]


class ChannelSums:
    """A plan: ``plan(arrays, out, given=None)`` writes out (count, channels), sums over rows of terms of up to 3 arrays."""

    def __init__(self, rows, channels, steps, terms=itself, count=1):
        self.terms, self.count, self.channels = terms, count, channels
        self.across = 1 if steps[-1] != 1 else min(LANES, 1 << (channels - 1).bit_length())
        lines, groups = THREADS // self.across, -(-channels // self.across)
        parts = max(1, min(rows // (PART * lines), MOST_BLOCKS // groups))
        part = max(1, -(-rows // parts))
        self.parts = max(1, -(-rows // part))
        self.geometry = Channels(rows, channels, *steps, part, self.across)
        self.blocks = self.parts * groups
        self.partial = Workspace(self.parts, count, channels) if self.parts > 1 else None
        self.workspace_bytes = self.partial.nbytes if self.partial else 0
        if self.partial:
            self.total = Channels(self.parts, count * channels, *of_matrix(self.parts, count * channels), self.parts, LANES)

    def __call__(self, arrays, out, given=None):
        arrays, given = [view(array) for array in arrays], None if given is None else view(given)
        written = self.partial.view if self.partial else view(out)
        unused = [None] * (3 - len(arrays))
        run = channel_sums(self.terms, len(arrays), self.count)
        start(run, self.blocks, (*arrays, *unused, given, written), (self.geometry,))
        if self.partial:
            blocks = -(-self.total.channels // LANES)
            start(channel_sums(itself, 1, 1), blocks, (self.partial.view, None, None, None, view(out)), (self.total,))
        return out
