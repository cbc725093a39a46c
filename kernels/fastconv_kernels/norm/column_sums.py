"""Sums for each channel on the CPU, by columns: the vocabulary of the normalisations.

A stretch of memory in which the channel changes fastest is a matrix of rows of ``channels`` elements.  With few channels a
row would be shorter than a few vectors, so several are taken as one, ``width`` a multiple of the channels, and the columns of
a channel are added at the end.  A plane of NCHW is such a stretch with one channel.  The order of all sums is that of the
shapes alone.
"""

from ..cpu.compile import apart, inlined
from ..cpu.past import ask_ahead
from . import steps

WIDTH = 256
"""At least so many columns at once: a column's sum waits for its last addition, the others are added meanwhile."""

BLOCK = 8192
"""Elements after which the mean is brought up to date; the first so many, read twice, stay in the nearest cache."""

through = inlined(steps.through)
extended, merged = inlined(steps.extended), inlined(steps.merged)


def width(channels: int, size: int) -> int:
    """The columns of a stretch of ``size`` elements: ``channels`` times a power of two."""
    wide = channels
    while wide < WIDTH and 2 * wide <= size:
        wide *= 2
    return wide


@inlined
def clear(total, width):
    for i in range(width):
        total[i] = type(total[0])(0)


@apart
@inlined
def add(x, count, total):
    for i in range(count):
        total[i] = total[i] + x[i]


@apart
@inlined
def add_distances(x, means, count, total, square):
    """Add x - mean, and its square."""
    for i in range(count):
        distance = x[i] - means[i]
        total[i] = total[i] + distance
        square[i] = square[i] + distance * distance


@apart
@inlined
def add_moments(gradient, x, y, rectified, means, count, total, moment):
    """Add the gradients, and gradients * (x - mean); ``rectified``: those that relu let through."""
    for i in range(count):
        given = through(gradient[i], y[i]) if rectified else gradient[i]
        total[i] = total[i] + given
        moment[i] = moment[i] + given * (x[i] - means[i])


@inlined
def fold(total, width, channels):
    """total (channels,) = the sums of the columns of each channel, in halves."""
    while width > channels:
        width //= 2
        add(total + width, width, total)


@apart
@inlined
def copy(x, count, out):
    for i in range(count):
        out[i] = x[i]


@inlined
def repeat(values, channels, width):
    """Fill ``width`` columns with what the first ``channels`` are, in doubles."""
    while channels < width:
        copy(values, channels, values + channels)
        channels *= 2


@inlined
def distances(x, means, size, width, channels, total, square, past):
    """total and square (channels,): the sums of x - mean and of its squares over ``size`` elements."""
    clear(total, width)
    clear(square, width)
    for first in range(0, size, width):
        count = min(width, size - first)
        if past:
            ask_ahead(x + first, count)
        add_distances(x + first, means, count, total, square)
    fold(total, width, channels)
    fold(square, width, channels)


@inlined
def first_mean(x, size, width, channels, total, mean):
    """mean (channels,) of ``size`` elements."""
    clear(total, width)
    for first in range(0, size, width):
        add(x + first, min(width, size - first), total)
    fold(total, width, channels)
    for c in range(channels):
        mean[c] = total[c] / type(mean[0])(size // channels)


@apart
@inlined
def merge(mean, squares, before, more_mean, more_squares, count, channels):
    """Merge the statistics of ``count`` more elements into those of ``before``."""
    kind = type(mean[0])
    for c in range(channels):
        mean[c], squares[c] = merged(mean[c], squares[c], kind(before), more_mean[c], more_squares[c], kind(count))


@apart
@inlined
def extend(mean, squares, total, square, count, channels):
    for c in range(channels):
        mean[c], squares[c] = extended(mean[c], squares[c], total[c], square[c], type(mean[0])(count))


@inlined
def statistics(x, size, width, channels, scratch, mean, squares, past):
    """mean and squares (channels,): the mean of ``size`` elements, and the sum of the squared distances from it.

    Block by block, with the distances from the mean of all blocks before; from its own mean for the first block, which is
    read twice.  ``scratch`` has room for 3 * ``width`` elements.
    """
    means, total, square = scratch, scratch + width, scratch + 2 * width
    block = max(BLOCK // width, 16) * width
    first_mean(x, min(block, size), width, channels, total, mean)
    for c in range(channels):
        squares[c] = type(squares[0])(0)
    for first in range(0, size, block):
        stretch = min(block, size - first)
        copy(mean, channels, means)
        repeat(means, channels, width)
        distances(x + first, means, stretch, width, channels, total, square, past)
        extend(mean, squares, total, square, (first + stretch) // channels, channels)


@inlined
def moments(gradient, x, y, rectified, means, size, width, channels, total, moment, past):
    """total and moment (channels,): the sums of the gradients and of gradients * (x - mean) over ``size`` elements."""
    clear(total, width)
    clear(moment, width)
    for first in range(0, size, width):
        count = min(width, size - first)
        if past:
            ask_ahead(gradient + first, count)
            ask_ahead(x + first, count)
            if rectified:
                ask_ahead(y + first, count)
        add_moments(gradient + first, x + first, y + first, rectified, means, count, total, moment)
    fold(total, width, channels)
    fold(moment, width, channels)
