"""What batch normalisation on the GPU works out for each channel: terms of sums over its elements, and what follows from them.

terms                      of one element, which ``cuda.channel_sums`` adds up in a fixed order
means, deviations, rates   a thread for each channel, between the passes over elements: nothing is shared, nobody waits
"""

from functools import cache
from math import sqrt
from typing import NamedTuple

from numba import cuda, float32, types

from ..cuda.build import device, kernel, numbers
from ..cuda.grid import THREADS
from . import steps

FLOATS = types.CPointer(float32)
through, moved, backward_rates = device(steps.through), device(steps.moved), device(steps.backward_rates)


class Statistics(NamedTuple):
    """What the channels' statistics need: how many there are, the number of elements of each, and forward's settings."""

    channels: int
    number: float
    others: float
    momentum: float
    epsilon: float


@device
def squared_distance(values, results, given, channel):
    """From the mean."""
    distance = values[0] - given[channel]
    results[0] = distance * distance


@device
def gradient_terms(values, results, given, channel):
    """The gradient, and times x - mean, of (gradient, x)."""
    results[0] = values[0]
    results[1] = values[0] * (values[1] - given[channel])


@device
def rectified_gradient_terms(values, results, given, channel):
    """The same of (gradient, x, y): the gradient before ReLU."""
    results[0] = through(values[0], values[2])
    results[1] = results[0] * (values[1] - given[channel])


@cache
def means():
    """The kernel (totals, mean)."""

    @kernel(types.void(FLOATS, FLOATS, numbers(Statistics)), threads=THREADS)
    def run(totals, mean, g):
        for channel in range(cuda.grid(1), g.channels, cuda.gridsize(1)):
            mean[channel] = totals[channel] / g.number

    return run


@cache
def deviations(moves):
    """The kernel (squares, mean, inverse, running_mean, running_var), of which the last two are there if it ``moves`` them."""

    @kernel(types.void(*[FLOATS] * 5, numbers(Statistics)), threads=THREADS)
    def run(squares, mean, inverse, running_mean, running_var, g):
        for channel in range(cuda.grid(1), g.channels, cuda.gridsize(1)):
            inverse[channel] = float32(1) / sqrt(squares[channel] / g.number + g.epsilon)
            if moves:
                running_mean[channel] = moved(running_mean[channel], g.momentum, mean[channel])
                running_var[channel] = moved(running_var[channel], g.momentum, squares[channel] / g.others)

    return run


@cache
def rates():
    """The kernel (totals, inverse, grad_weight, grad_bias, rates): both of ``steps.backward_rates``, a line each."""

    @kernel(types.void(*[FLOATS] * 5, numbers(Statistics)), threads=THREADS)
    def run(totals, inverse, grad_weight, grad_bias, rates, g):
        for channel in range(cuda.grid(1), g.channels, cuda.gridsize(1)):
            total, moment = totals[channel], totals[g.channels + channel]
            grad_bias[channel] = total
            grad_weight[channel] = moment * inverse[channel]
            offset, slope = backward_rates(total, moment, inverse[channel], g.number)
            rates[channel] = offset
            rates[g.channels + channel] = slope

    return run
