"""The passes of batch normalisation on the CPU: loops over the stretches of memory that ``columns_cpu`` describes.

``stretches``  (all elements, the unit in which they are divided, how many stretches, columns, channels of a stretch, how many
               stretches have the channels of a part among them)
``partial``    (parts, 2 * channels and what fills a cache line): two sums for each channel
``scratch``    (threads, 6 * columns and what fills a cache line)
``past``       whether arrays go past the caches (``cpu/past.py``)
"""

from math import sqrt

from numba import int64, prange

from ..cpu.compile import apart, inlined, serial, threaded
from ..cpu.elements import elements
from ..cpu.past import ask_ahead, pass_on, passed_on
from ..cpu.share import share
from . import steps
from .column_sums import copy, merge, moments, repeat, statistics

normalised, rectified_value = inlined(steps.normalised), inlined(steps.rectified)
through, gradient_of_input = inlined(steps.through), inlined(steps.gradient_of_input)
backward_rates, moved = inlined(steps.backward_rates), inlined(steps.moved)


@inlined
def stretch(task, stretches):
    """(first element, number of elements) of one."""
    size, unit, count, _, _, _ = stretches
    first, end = share(task, count, (size + unit - 1) // unit)
    return first * unit, min(size, end * unit) - first * unit


@inlined
def spread(values, channels, width, table):
    """``table`` (width,) = the values of the channels, again and again."""
    copy(values, channels, table)
    repeat(table, channels, width)


@threaded
def statistics_by_parts(x, partial, stretches, scratch, past, threads):
    """partial: the mean of each channel of a part, and the sum of the squared distances from it."""
    for thread in prange(threads):
        _, _, count, width, channels, siblings = stretches
        pitch, half = partial.shape[1], channels * siblings
        columns = elements(scratch, int64(thread) * scratch.shape[1])
        first, end = share(thread, threads, count)
        for task in range(first, end):
            begin, length = stretch(task, stretches)
            mean = elements(partial, task // siblings * pitch + task % siblings)
            statistics(elements(x, begin), length, width, channels, columns, mean, mean + half, past)


@serial
def settle(partial, stretches, weight, mean, inverse, scale, epsilon):
    """Merge the parts into the first; the mean, 1 / deviation, and what multiplies x - mean."""
    _, _, count, _, channels, siblings = stretches
    C, pitch = mean.size, partial.shape[1]
    base, before = elements(partial, 0), int64(0)
    for part in range(count // siblings):
        _, length = stretch(part * siblings, stretches)
        more = elements(partial, part * pitch)
        if part > 0:
            merge(base, base + C, before, more, more + C, length // channels, C)
        before += length // channels
    for c in range(C):
        mean[c] = base[c]
        inverse[c] = type(epsilon)(1) / sqrt(base[C + c] / type(epsilon)(before) + epsilon)
        scale[c] = weight[c] * inverse[c]


@serial
def track(running_mean, running_var, mean, partial, count, momentum):
    """Move the running statistics; the variance is that of the population, estimated: divided by ``count`` - 1."""
    squares = elements(partial, mean.size)
    for c in range(mean.size):
        variance = squares[c] / type(momentum)(max(1, count - 1))
        running_mean[c] = moved(running_mean[c], momentum, mean[c])
        running_var[c] = moved(running_var[c], momentum, variance)


@serial
def scale_of(variance, weight, scale, epsilon):
    for c in range(variance.size):
        scale[c] = weight[c] / sqrt(variance[c] + epsilon)


@apart
@inlined
def normalise_row(x, residual, out, means, scales, biases, added, relu, count):
    for i in range(count):
        value = normalised(x[i], means[i], scales[i], biases[i])
        value = value + residual[i] if added else value
        out[i] = rectified_value(value) if relu else value


@threaded
def normalise(x, residual, out, tables, added, relu, stretches, scratch, past, threads):
    """out = (x - mean) * scale + bias, and the residual if one is ``added``, at least 0 with ``relu``."""
    for thread in prange(threads):
        mean, scale, bias = tables
        _, _, count, width, channels, siblings = stretches
        means = elements(scratch, int64(thread) * scratch.shape[1])
        scales, biases, near = means + width, means + 2 * width, means + 3 * width
        first, end = share(thread, threads, count)
        for task in range(first, end):
            begin, length = stretch(task, stretches)
            spread(elements(mean, task % siblings), channels, width, means)
            spread(elements(scale, task % siblings), channels, width, scales)
            spread(elements(bias, task % siblings), channels, width, biases)
            for at in range(begin, begin + length, width):
                addend, target, columns = elements(residual, at), elements(out, at), min(width, begin + length - at)
                if past:
                    ask_ahead(elements(x, at), columns)
                    if added:
                        ask_ahead(addend, columns)
                place = near if past else target
                normalise_row(elements(x, at), addend, place, means, scales, biases, added, relu, columns)
                if past:
                    pass_on(near, target, columns)
        if past:
            passed_on()


@threaded
def moments_by_parts(gradient, x, y, rectified, mean, partial, stretches, scratch, past, threads):
    """partial: for each channel of a part the sums of the gradients and of gradients * (x - mean)."""
    for thread in prange(threads):
        _, _, count, width, channels, siblings = stretches
        pitch, half = partial.shape[1], channels * siblings
        means = elements(scratch, int64(thread) * scratch.shape[1])
        total, moment = means + width, means + 2 * width
        first, end = share(thread, threads, count)
        for task in range(first, end):
            begin, length = stretch(task, stretches)
            spread(elements(mean, task % siblings), channels, width, means)
            given, point, result = elements(gradient, begin), elements(x, begin), elements(y, begin)
            moments(given, point, result, rectified, means, length, width, channels, total, moment, past)
            sums = elements(partial, task // siblings * pitch + task % siblings)
            for c in range(channels):
                sums[c], sums[half + c] = total[c], moment[c]


@serial
def settle_gradients(partial, count, weight, inverse, scale, grad_weight, grad_bias):
    """Add the parts; the gradients of weight and bias, and in the first part what dx needs of them."""
    C = weight.size
    kind = scale.dtype.type
    for c in range(C):
        total, moment = kind(0), kind(0)
        for part in range(partial.shape[0]):
            total += partial[part, c]
            moment += partial[part, C + c]
        grad_bias[c], grad_weight[c], scale[c] = total, moment * inverse[c], weight[c] * inverse[c]
        partial[0, c], partial[0, C + c] = backward_rates(total, moment, inverse[c], kind(count))


@apart
@inlined
def gradient_row(row, rectified, tables, width, passes, count):
    given, x, y, out, passed = row
    means, scales, offsets, slopes = tables, tables + width, tables + 2 * width, tables + 3 * width
    for i in range(count):
        gradient = through(given[i], y[i]) if rectified else given[i]
        if passes:
            passed[i] = gradient
        out[i] = gradient_of_input(gradient, x[i], means[i], scales[i], offsets[i], slopes[i])


@threaded
def gradient(given, x, y, rectified, tables, rates, results, passes, stretches, scratch, past, threads):
    """results: dx and, if the gradient ``passes`` on to a residual, that of the residual."""
    for thread in prange(threads):
        mean, scale = tables
        out, passed = results
        _, _, count, width, channels, siblings = stretches
        half = channels * siblings
        columns = elements(scratch, int64(thread) * scratch.shape[1])
        first, end = share(thread, threads, count)
        for task in range(first, end):
            begin, length = stretch(task, stretches)
            spread(elements(mean, task % siblings), channels, width, columns)
            spread(elements(scale, task % siblings), channels, width, columns + width)
            spread(elements(rates, task % siblings), channels, width, columns + 2 * width)
            spread(elements(rates, half + task % siblings), channels, width, columns + 3 * width)
            for at in range(begin, begin + length, width):
                target, other, number = elements(out, at), elements(passed, at), min(width, begin + length - at)
                if past:
                    ask_ahead(elements(given, at), number)
                    ask_ahead(elements(x, at), number)
                    if rectified:
                        ask_ahead(elements(y, at), number)
                near = (columns + 4 * width, columns + 5 * width) if past else (target, other)
                row = elements(given, at), elements(x, at), elements(y, at), near[0], near[1]
                # Each case by itself: for several threads LLVM makes no vectors of a loop that asks for every element.
                if rectified and passes:
                    gradient_row(row, True, columns, width, True, number)
                elif rectified:
                    gradient_row(row, True, columns, width, False, number)
                elif passes:
                    gradient_row(row, False, columns, width, True, number)
                else:
                    gradient_row(row, False, columns, width, False, number)
                if past:
                    pass_on(near[0], target, number)
                    if passes:
                        pass_on(near[1], other, number)
        if past:
            passed_on()
