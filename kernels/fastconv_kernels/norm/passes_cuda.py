"""Batch normalisation on the GPU: sums for each channel, then one pass over the elements, with the bodies of ``steps.py``.

forward      the sums of x give the means, the sums of the squared distances from them the variances (``cuda.channel_sums``);
             then every element is normalised, the residual added, ReLU taken
inference    the last pass alone
backward     the sums of the gradients, and of gradients times x - mean, give the gradients of weight and bias; then every
             element's gradient

What belongs to channels is worked out between the passes (``channels_cuda``).  In a pass over elements a thread has four
neighbours, 16 bytes of each array: four channels of a pixel in NHWC, four pixels of a channel in NCHW.  The sums are those of
``channel_sums``: the same bits every time.

Source: Ioffe & Szegedy, "Batch Normalization", 2015.
"""

from functools import cache
from typing import NamedTuple

from numba import cuda, float32, int32, types

from ..cuda.arrays import view
from ..cuda.build import device, kernel, numbers
from ..cuda.channel_sums import ChannelSums, of_matrix, of_planes
from ..cuda.grid import THREADS, blocks_for, movers
from ..cuda.integers import divide
from ..cuda.launch import start
from ..cuda.memory import at
from ..cuda.unrolling import unroll
from ..cuda.workspace import Workspace
from . import steps
from .channels_cuda import (
    Statistics,
    deviations,
    gradient_terms,
    means,
    rates,
    rectified_gradient_terms,
    squared_distance,
)

FLOATS = types.CPointer(float32)
normalised, rectified, through = device(steps.normalised), device(steps.rectified), device(steps.through)
gradient_of_input = device(steps.gradient_of_input)


class Elements(NamedTuple):
    """The geometry of a pass over elements; in NCHW ``pixels`` neighbours have the same channel."""

    size: int
    channels: int
    pixels: int


class Parts(NamedTuple):
    """Which arrays there are, 1 or 0 each, how many elements a thread has, and whether they lie in planes."""

    width: int
    planes: int
    weighted: int = 0
    biased: int = 0
    adds: int = 0
    rectifies: int = 0


@cache
def channel_of(parts):
    """The function (quotient, first, i, g) → the channel of element first + i of a thread's."""

    @device
    def find(quotient, first, i, g):
        if parts.planes:
            divide(quotient, first, g.pixels)
            plane = quotient[0]
            divide(quotient, plane, g.channels)
            return plane - quotient[0] * g.channels
        else:  # noqa: RET505 - only one of the two is compiled
            divide(quotient, first, g.channels)
            return first - quotient[0] * g.channels + i

    return find


@cache
def normalise(parts):
    """The kernel (x, mean, inverse, weight, bias, residual, out)."""
    (load, store), find, width = movers(parts.width), channel_of(parts), parts.width

    @kernel(types.void(*[FLOATS] * 7, numbers(Elements)), threads=THREADS, blocks=2)
    def run(x, mean, inverse, weight, bias, residual, out, g):
        values, added, quotient = (
            cuda.local.array(width, float32),
            cuda.local.array(width, float32),
            cuda.local.array(1, int32),
        )
        for first in range(width * cuda.grid(1), g.size, width * cuda.gridsize(1)):
            load(at(values, 0), x, first)
            if parts.adds:
                load(at(added, 0), residual, first)
            for i in unroll(width):
                channel = find(at(quotient, 0), first, i, g)
                scale, offset = inverse[channel], float32(0)
                if parts.weighted:
                    scale = weight[channel] * scale
                if parts.biased:
                    offset = bias[channel]
                values[i] = normalised(values[i], mean[channel], scale, offset)
                if parts.adds:
                    values[i] += added[i]
                if parts.rectifies:
                    values[i] = rectified(values[i])
            store(out, first, at(values, 0))

    return run


@cache
def differentiate(parts):
    """The kernel (gradient, x, y, mean, inverse, weight, rates, out, grad_residual); y is there where ReLU was."""
    (load, store), find, width = movers(parts.width), channel_of(parts), parts.width

    @kernel(types.void(*[FLOATS] * 9, numbers(Elements)), threads=THREADS, blocks=2)
    def run(gradient, x, y, mean, inverse, weight, rates, out, grad_residual, g):
        given, values, results = (
            cuda.local.array(width, float32),
            cuda.local.array(width, float32),
            cuda.local.array(width, float32),
        )
        quotient = cuda.local.array(1, int32)
        for first in range(width * cuda.grid(1), g.size, width * cuda.gridsize(1)):
            load(at(given, 0), gradient, first)
            load(at(values, 0), x, first)
            if parts.rectifies:
                load(at(results, 0), y, first)
            for i in unroll(width):
                channel = find(at(quotient, 0), first, i, g)
                scale = inverse[channel]
                if parts.weighted:
                    scale = weight[channel] * scale
                if parts.rectifies:
                    given[i] = through(given[i], results[i])
                offset, slope = rates[channel], rates[g.channels + channel]
                results[i] = gradient_of_input(given[i], values[i], mean[channel], scale, offset, slope)
            store(out, first, at(results, 0))
            if parts.adds:
                store(grad_residual, first, at(given, 0))

    return run


class _Plan:
    def __init__(self, problem, threads=1):
        self.problem, self.threads = problem, threads
        self.planes = int(problem.layout == "NCHW")
        self.steps = of_planes(problem.channels, problem.pixels) if self.planes else of_matrix(problem.count, problem.channels)
        self.elements = Elements(problem.size, problem.channels, problem.pixels)
        self.workspace_bytes = 0

    def statistics(self, momentum=0.0, epsilon=0.0):
        count = self.problem.count
        return Statistics(self.problem.channels, float(count), float(max(1, count - 1)), float(momentum), float(epsilon))

    def width(self, *arrays):
        """How many elements a thread takes of each array; None is none."""
        together = self.problem.pixels if self.planes else self.problem.channels
        return 4 if together % 4 == 0 and all(view(a).address % 16 == 0 for a in arrays if a is not None) else 1

    def over_channels(self, run, arrays, statistics):
        start(run, blocks_for(self.problem.channels), [a if a is None else view(a) for a in arrays], (statistics,))

    def over_elements(self, run, arrays, width):
        given = [a if a is None else view(a) for a in arrays]
        start(run, blocks_for(-(-self.problem.size // width)), given, (self.elements,))

    def normalise(self, x, mean, inverse, weight, bias, residual, out, relu):
        width = self.width(x, residual, out)
        present = (int(array is not None) for array in (weight, bias, residual))
        run = normalise(Parts(width, self.planes, *present, int(relu)))
        self.over_elements(run, (x, mean, inverse, weight, bias, residual, out), width)
        return out


class Forward(_Plan):
    """With the statistics of the batch."""

    def __init__(self, problem, threads=1):
        super().__init__(problem, threads)
        size = problem.count, problem.channels, self.steps
        self.sums, self.squares = ChannelSums(*size), ChannelSums(*size, squared_distance)
        self.totals = Workspace(problem.channels)
        self.workspace_bytes = self.sums.workspace_bytes + self.squares.workspace_bytes + self.totals.nbytes

    def __call__(
        self,
        x,
        weight,
        bias,
        out,
        mean,
        inverse,
        running_mean=None,
        running_var=None,
        residual=None,
        relu=False,
        *,
        momentum=0.1,
        epsilon=1e-5,
    ):
        """Write the normalised ``x`` into ``out``, the statistics into ``mean`` and ``inverse``; move the running ones."""
        if self.problem.size == 0:
            return out
        statistics = self.statistics(momentum, epsilon)
        totals = self.totals.view
        self.sums([x], totals)
        self.over_channels(means(), (totals, mean), statistics)
        self.squares([x], totals, mean)
        moves = running_mean is not None and running_var is not None
        self.over_channels(deviations(moves), (totals, mean, inverse, running_mean, running_var), statistics)
        return self.normalise(x, mean, inverse, weight, bias, residual, out, relu)


class Inference(_Plan):
    """With given statistics."""

    def __init__(self, problem, threads=1):
        super().__init__(problem, threads)
        self.inverse = Workspace(problem.channels)
        self.workspace_bytes = self.inverse.nbytes

    def __call__(self, x, weight, bias, mean, variance, out, residual=None, relu=False, *, epsilon=1e-5):
        """Write ``x``, normalised with the statistics that are given, into ``out``."""
        if self.problem.size == 0:
            return out
        one = self.statistics(0.0, epsilon)._replace(number=1.0)
        self.over_channels(deviations(False), (variance, mean, self.inverse.view, None, None), one)
        return self.normalise(x, mean, self.inverse.view, weight, bias, residual, out, relu)


class Backward(_Plan):
    """The gradients of x, weight, bias and residual."""

    def __init__(self, problem, threads=1):
        super().__init__(problem, threads)
        size = problem.count, problem.channels, self.steps
        self.sums = {
            False: ChannelSums(*size, gradient_terms, 2),
            True: ChannelSums(*size, rectified_gradient_terms, 2),
        }
        self.totals, self.rates = Workspace(2, problem.channels), Workspace(2, problem.channels)
        self.workspace_bytes = sum(each.workspace_bytes for each in self.sums.values()) + 2 * self.totals.nbytes

    def __call__(self, grad_output, x, weight, mean, inverse, out, grad_weight, grad_bias, y=None, grad_residual=None):
        """Write the gradients of x, weight, bias and residual; ``y`` is what forward wrote, where relu was part of it."""
        given = [grad_output, x] if y is None else [grad_output, x, y]
        self.sums[y is not None](given, self.totals.view, mean)
        channels = self.totals.view, inverse, grad_weight, grad_bias, self.rates.view
        self.over_channels(rates(), channels, self.statistics()._replace(number=float(max(1, self.problem.count))))
        if self.problem.size:
            width = self.width(grad_output, x, y, out, grad_residual)
            parts = Parts(width, self.planes, int(weight is not None), 0, int(grad_residual is not None), int(y is not None))
            arrays = grad_output, x, y, mean, inverse, weight, self.rates.view, out, grad_residual
            self.over_elements(differentiate(parts), arrays, width)
        return out
