"""Pooling by windows on the GPU: a thread for each output, and backwards for each pixel, in a grid-stride loop.

    thread t        channels ``width`` t … of one output, row by row (NHWC: ``width`` is 4, 16 bytes, if C is a multiple of it)
      forward       its window's pixels inside the image, tap by tap in their order: ``window.larger``, or a sum
      backward      the windows that cover its pixel, in their order: ``window.received``, or a share of each

NCHW is NHWC with a plane for an image and one channel.  Every element is written once, by the thread that has computed it:
there are no atomics, and results have the same bits every time.  What windows share is read several times, but from memory
only once: threads side by side read it at about the same time, from the caches.  Nothing is shared and nobody waits.
"""

from functools import cache

import numpy as np
from numba import cuda, float32, int32, int64, types

from ..cuda.arrays import view
from ..cuda.build import device, kernel, numbers
from ..cuda.grid import THREADS, blocks_for, movers
from ..cuda.launch import start
from ..cuda.memory import at
from ..cuda.unrolling import unroll
from . import window
from .geometry_cuda import Kind, Windows, divisor_of, finders, place_of

FLOATS = types.CPointer(float32)
POSITIONS = {"int32": types.CPointer(int32), "int64": types.CPointer(int64)}
LEAST = np.float32(-np.inf)
"""The maximum of nothing."""

larger, received = device(window.larger), device(window.received)


@cache
def maximum(kind, index_type):
    """The kernel (x, out, positions) of a maximum; positions are written if there are any."""
    (taps, *_), (load, store), width = finders(kind), movers(kind.width), kind.width

    @kernel(types.void(FLOATS, FLOATS, POSITIONS[index_type], numbers(Windows)), threads=THREADS, blocks=4)
    def run(x, out, positions, g):
        values, best = cuda.local.array(width, float32), cuda.local.array(width, float32)
        places, quotient = cuda.local.array(width, int32), cuda.local.array(1, int32)
        for i in range(cuda.grid(1), g.size, cuda.gridsize(1)):
            image, p, q, channel = place_of(at(quotient, 0), i, g.groups, g.P, g.Q, width)
            top, rows = taps(at(quotient, 0), p, g.P, g.R, g.stride_h, g.top, g.dilation_h, g.H)
            left, columns = taps(at(quotient, 0), q, g.Q, g.S, g.stride_w, g.left, g.dilation_w, g.W)
            for c in unroll(width):
                best[c], places[c] = LEAST, -1
            for r in range(rows):
                for s in range(columns):
                    here = (top + r * g.dilation_h) * g.W + left + s * g.dilation_w
                    load(at(values, 0), x, (image * g.H * g.W + here) * g.step + channel)
                    for c in unroll(width):
                        if places[c] < 0:
                            best[c], places[c] = values[c], here
                        else:
                            best[c], places[c] = larger(best[c], places[c], values[c], here)
            written = ((image * g.P + p) * g.Q + q) * g.step + channel
            store(out, written, at(best, 0))
            if kind.positions:
                for c in unroll(width):
                    positions[written + c] = places[c]

    return run


@cache
def average(kind):
    """The kernel (x, out) of a mean."""
    (taps, _, _, area), (load, store), width = finders(kind), movers(kind.width), kind.width

    @kernel(types.void(FLOATS, FLOATS, numbers(Windows)), threads=THREADS, blocks=4)
    def run(x, out, g):
        values, total = cuda.local.array(width, float32), cuda.local.array(width, float32)
        quotient = cuda.local.array(1, int32)
        for i in range(cuda.grid(1), g.size, cuda.gridsize(1)):
            image, p, q, channel = place_of(at(quotient, 0), i, g.groups, g.P, g.Q, width)
            top, rows = taps(at(quotient, 0), p, g.P, g.R, g.stride_h, g.top, g.dilation_h, g.H)
            left, columns = taps(at(quotient, 0), q, g.Q, g.S, g.stride_w, g.left, g.dilation_w, g.W)
            for c in unroll(width):
                total[c] = 0
            for r in range(rows):
                for s in range(columns):
                    pixel = (image * g.H + top + r * g.dilation_h) * g.W + left + s * g.dilation_w
                    load(at(values, 0), x, pixel * g.step + channel)
                    for c in unroll(width):
                        total[c] += values[c]
            down = area(p, g.R, g.stride_h, g.top, g.dilation_h, g.end_h, rows)
            across = area(q, g.S, g.stride_w, g.left, g.dilation_w, g.end_w, columns)
            divisor = divisor_of(down, across, g.divisor)
            for c in unroll(width):
                total[c] = total[c] / divisor
            store(out, ((image * g.P + p) * g.Q + q) * g.step + channel, at(total, 0))

    return run


@cache
def maximum_backward(kind, index_type):
    """The kernel (gradient, positions, out) of a maximum."""
    (_, covering, _, _), (load, store), width = finders(kind), movers(kind.width), kind.width

    @kernel(types.void(FLOATS, POSITIONS[index_type], FLOATS, numbers(Windows)), threads=THREADS, blocks=2)
    def run(gradient, positions, out, g):
        values, total = cuda.local.array(width, float32), cuda.local.array(width, float32)
        quotient = cuda.local.array(1, int32)
        for i in range(cuda.grid(1), g.size, cuda.gridsize(1)):
            image, h, w, channel = place_of(at(quotient, 0), i, g.groups, g.H, g.W, width)
            p0, p1 = covering(at(quotient, 0), h, g.P, g.R, g.stride_h, g.top, g.dilation_h, g.H)
            q0, q1 = covering(at(quotient, 0), w, g.Q, g.S, g.stride_w, g.left, g.dilation_w, g.W)
            for c in unroll(width):
                total[c] = 0
            for p in range(p0, p1):
                for q in range(q0, q1):
                    given = ((image * g.P + p) * g.Q + q) * g.step + channel
                    load(at(values, 0), gradient, given)
                    for c in unroll(width):
                        total[c] += received(values[c], positions[given + c], h * g.W + w)
            store(out, ((image * g.H + h) * g.W + w) * g.step + channel, at(total, 0))

    return run


@cache
def average_backward(kind):
    """The kernel (gradient, out) of a mean."""
    (taps, covering, covers, area), (load, store), width = finders(kind), movers(kind.width), kind.width

    @kernel(types.void(FLOATS, FLOATS, numbers(Windows)), threads=THREADS, blocks=2)
    def run(gradient, out, g):
        values, total = cuda.local.array(width, float32), cuda.local.array(width, float32)
        quotient = cuda.local.array(1, int32)
        for i in range(cuda.grid(1), g.size, cuda.gridsize(1)):
            image, h, w, channel = place_of(at(quotient, 0), i, g.groups, g.H, g.W, width)
            p0, p1 = covering(at(quotient, 0), h, g.P, g.R, g.stride_h, g.top, g.dilation_h, g.H)
            q0, q1 = covering(at(quotient, 0), w, g.Q, g.S, g.stride_w, g.left, g.dilation_w, g.W)
            for c in unroll(width):
                total[c] = 0
            for p in range(p0, p1):
                _, rows = taps(at(quotient, 0), p, g.P, g.R, g.stride_h, g.top, g.dilation_h, g.H)
                down = area(p, g.R, g.stride_h, g.top, g.dilation_h, g.end_h, rows)
                for q in range(q0, q1):
                    _, columns = taps(at(quotient, 0), q, g.Q, g.S, g.stride_w, g.left, g.dilation_w, g.W)
                    across = area(q, g.S, g.stride_w, g.left, g.dilation_w, g.end_w, columns)
                    here = covers(at(quotient, 0), p, h, g.stride_h, g.top, g.dilation_h)
                    if here and covers(at(quotient, 0), q, w, g.stride_w, g.left, g.dilation_w):
                        load(at(values, 0), gradient, ((image * g.P + p) * g.Q + q) * g.step + channel)
                        for c in unroll(width):
                            total[c] += values[c] / divisor_of(down, across, g.divisor)
            store(out, ((image * g.H + h) * g.W + w) * g.step + channel, at(total, 0))

    return run


class _Plan:
    workspace_bytes = 0

    def __init__(self, problem, threads=1):
        self.problem, self.threads = problem, threads
        nhwc = problem.layout == "NHWC"
        self.step, self.images = (problem.C, problem.N) if nhwc else (1, problem.N * problem.C)

    def width(self, *arrays):
        """How many channels a thread takes of them."""
        return 4 if self.step % 4 == 0 and all(view(array).address % 16 == 0 for array in arrays) else 1

    def kind(self, width, positions=0):
        p = self.problem
        dilated, counting = int(max(p.dilation) > 1), int(p.count_padding and not p.adaptive)
        return Kind(width, int(p.adaptive is not None), dilated, counting, positions)

    def geometry(self, width, rows, columns):
        """For threads that have the pixels of images of ``rows`` x ``columns``."""
        p, groups = self.problem, self.step // width
        before, after = zip(*p.padding, strict=True)
        sizes = p.H, p.W, p.P, p.Q, p.R, p.S
        ends = p.H + after[0], p.W + after[1]
        size = self.images * rows * columns * groups
        return Windows(size, groups, self.step, *sizes, *p.stride, *before, *p.dilation, *ends, p.divisor or 0)


class Forward(_Plan):
    """``plan(x, out, indices=None)``"""

    def __call__(self, x, out, indices=None):
        """Write the pooled images into ``out``, and where the maxima are into ``indices``, int32 or int64."""
        width = self.width(x, out)
        g = self.geometry(width, self.problem.P, self.problem.Q)
        if g.size and self.problem.mode == "average":
            start(average(self.kind(width)), blocks_for(g.size), (view(x), view(out)), (g,))
        elif g.size:
            positions = None if indices is None else view(indices)
            index_type = "int32" if positions is None else positions.dtype.name
            run = maximum(self.kind(width, int(positions is not None)), index_type)
            start(run, blocks_for(g.size), (view(x), view(out), positions), (g,))
        return out


class BackwardInput(_Plan):
    """``plan(grad_output, indices, out)`` of a maximum, ``plan(grad_output, out)`` of an average."""

    def __call__(self, grad_output, *indices_and_out):
        """Write the gradient of the input into ``out``."""
        *indices, out = indices_and_out
        width = self.width(grad_output, out)
        g = self.geometry(width, self.problem.H, self.problem.W)
        if g.size:
            given = [view(array) for array in (grad_output, *indices, out)]
            kind = self.kind(width)
            run = maximum_backward(kind, given[1].dtype.name) if indices else average_backward(kind)
            start(run, blocks_for(g.size), given, (g,))
        return out
