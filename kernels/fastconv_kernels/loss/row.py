"""Softmax and cross-entropy, written once: one row.

``x``, ``out`` … are rows: element i of x is x[i].  Everything is shifted by the row's maximum, so that nothing overflows.

A row may be shared: ``each``, ``having`` and ``together`` are what that means for whoever computes it.  Here that is one
thread, which has all of it; on a GPU it is the 32 lanes of a warp, and the names stand for functions of ``rows_cuda.py``.
"""

from math import log

from numba.extending import register_jitable

from ..mathematics import exp, of_ordinal, ordinal

part_of_its_callers = register_jitable(forceinline=True)
"""With functions of their own for the passes over a row softmax took up to 1.1 times as long on a Granite Rapids."""

each = range
"""The numbers of one's own elements, of so many."""


@part_of_its_callers
def having(i):
    """``i``, for the one that has this element."""
    return range(i, i + 1)


@part_of_its_callers
def together(part):
    """The sum of everyone's ``part``."""
    return part


# Sums may be formed in any order, so that the compiler may form many at once; no other arithmetic may.
reordered = register_jitable(fastmath={"reassoc", "nsz"}, forceinline=True)


@reordered
def sum_of(x, count):
    total = type(x[0])(0)
    for i in each(count):
        total += x[i]
    return together(total)


@reordered
def sum_of_products(x, y, count):
    total = type(x[0])(0)
    for i in each(count):
        total += x[i] * y[i]
    return together(total)


@part_of_its_callers
def maximum(x, count):
    """The largest element.  If one is NaN, anything or NaN: all exponentials become NaN with their sum."""
    largest = ordinal(x[0])
    for i in range(1, count):
        largest = max(largest, ordinal(x[i]))
    return of_ordinal(largest)


@part_of_its_callers
def exponentials(x, out, count):
    """out[i] = e**(x[i] - the maximum); (the maximum, their sum)."""
    largest = maximum(x, count)
    for i in each(count):
        out[i] = exp(x[i] - largest)
    return largest, sum_of(out, count)


def softmax(x, out, count):
    """out[i] = e**x[i] / the sum of all"""
    _, total = exponentials(x, out, count)
    share = type(total)(1) / total  # one division a row: a vector's takes as long as ten products
    for i in each(count):
        out[i] = out[i] * share


def softmax_backward(gradient, y, out, count):
    """out = y * (gradient - <gradient, y>)"""
    product = sum_of_products(gradient, y, count)
    for i in each(count):
        out[i] = y[i] * (gradient[i] - product)


def log_softmax(x, out, count):
    """out[i] = log(e**x[i] / the sum of all)"""
    largest, total = exponentials(x, out, count)
    level = log(total)
    for i in each(count):
        out[i] = (x[i] - largest) - level


def log_softmax_backward(gradient, y, out, count):
    """out = gradient - e**y * the sum of the gradient"""
    total = sum_of(gradient, count)
    for i in each(count):
        out[i] = gradient[i] - exp(y[i]) * total


def cross_entropy(x, label, grad, count, scale):
    """-log of the softmax at ``label``; grad = (softmax - one at the label) * scale."""
    largest, total = exponentials(x, grad, count)
    share = scale / total
    for i in each(count):
        grad[i] = grad[i] * share
    for i in having(label):
        grad[i] = grad[i] - scale
    return log(total) - (x[label] - largest)


def cross_entropy_of_distribution(x, target, grad, count, scale):
    """-<target, log softmax>; grad = (softmax * sum of target - target) * scale."""
    largest, total = exponentials(x, grad, count)
    level, share, loss = log(total), sum_of(target, count) / total, type(largest)(0)
    for i in each(count):  # in this order: (level + largest) - x would lose what is left of large logits
        # A class that the target excludes costs nothing, not even where its logit is -infinity.
        loss += target[i] * (level - (x[i] - largest)) if target[i] != type(largest)(0) else type(largest)(0)
    for i in each(count):
        grad[i] = (grad[i] * share - target[i]) * scale
    return together(loss)
