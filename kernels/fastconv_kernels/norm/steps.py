"""Batch normalisation, written once: plain Python for one element or one channel, compiled for every target."""


def normalised(x, mean, scale, bias):
    """Subtracting the mean first loses nothing where it is much larger than the deviation."""
    return (x - mean) * scale + bias


def rectified(value):
    """max(value, 0), NaN stays."""
    return type(value)(0) if value < type(value)(0) else value


def through(gradient, y):
    """The gradient of relu's input, y its result."""
    return type(gradient)(0) if y <= type(y)(0) else gradient


def gradient_of_input(gradient, x, mean, scale, offset, slope):
    """dx from the gradient of one element; ``offset`` and ``slope`` as ``backward_rates`` gives them."""
    return ((gradient - offset) - (x - mean) * slope) * scale


def backward_rates(total, moment, inverse, count):
    """(offset, slope) from the sums of the gradients and of gradients * (x - mean) over ``count`` elements of a channel."""
    return total / count, moment * inverse * inverse / count


def extended(mean, squares, total, square, count):
    """(mean, sum of squared distances from it) of ``count`` elements, some of which the mean is of, the others new.

    Of the new ones, no more than the old, ``total`` and ``square`` are the sums of x - mean and of its square.  What is
    subtracted is at most half of ``square``: nothing cancels.  With only new ones the mean must be theirs.
    """
    return mean + total / count, squares + (square - total * total / count)


def merged(mean, squares, before, more_mean, more_squares, count):
    """(mean, sum of squared distances from it) of ``before`` + ``count`` elements, from those of the two groups.

    Chan, Golub, LeVeque, "Algorithms for Computing the Sample Variance", 1983: no difference of large squares is formed.
    """
    weight = count / (before + count)
    distance = more_mean - mean
    return mean + distance * weight, (squares + more_squares) + distance * distance * (before * weight)


def moved(running, momentum, value):
    """The running statistic, ``momentum`` of the way to ``value``."""
    return (type(value)(1) - momentum) * running + momentum * value
