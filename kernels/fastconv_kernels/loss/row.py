"""Softmax and cross-entropy, written once: one row.

``x``, ``out`` … are rows: element i of x is x[i].  Everything is shifted by the row's maximum, so that nothing overflows.
"""

from math import log

from numba.extending import register_jitable

from ..mathematics import exp


@register_jitable
def maximum(x, count):
    """The largest element; NaN if one is."""
    largest = x[0]
    for i in range(1, count):
        value = x[i]
        largest = value if (value > largest) | (value != value) else largest
    return largest


@register_jitable
def exponentials(x, out, count):
    """out[i] = e**(x[i] - the maximum); (the maximum, their sum)."""
    largest = maximum(x, count)
    for i in range(count):
        out[i] = exp(x[i] - largest)
    total = type(largest)(0)
    for i in range(count):
        total += out[i]
    return largest, total


def softmax(x, out, count):
    """out[i] = e**x[i] / the sum of all"""
    _, total = exponentials(x, out, count)
    for i in range(count):
        out[i] = out[i] / total


def softmax_backward(gradient, y, out, count):
    """out = y * (gradient - <gradient, y>)"""
    product = type(y[0])(0)
    for i in range(count):
        product += gradient[i] * y[i]
    for i in range(count):
        out[i] = y[i] * (gradient[i] - product)


def log_softmax(x, out, count):
    """out[i] = log(e**x[i] / the sum of all)"""
    largest, total = exponentials(x, out, count)
    level = log(total)
    for i in range(count):
        out[i] = (x[i] - largest) - level


def log_softmax_backward(gradient, y, out, count):
    """out = gradient - e**y * the sum of the gradient"""
    total = type(y[0])(0)
    for i in range(count):
        total += gradient[i]
    for i in range(count):
        out[i] = gradient[i] - exp(y[i]) * total


def cross_entropy(x, label, grad, count, scale):
    """-log of the softmax at ``label``; grad = (softmax - one at the label) * scale."""
    largest, total = exponentials(x, grad, count)
    for i in range(count):
        grad[i] = (grad[i] / total) * scale
    grad[label] = grad[label] - scale
    return log(total) - (x[label] - largest)


def cross_entropy_of_distribution(x, target, grad, count, scale):
    """-<target, log softmax>; grad = (softmax * sum of target - target) * scale."""
    largest, total = exponentials(x, grad, count)
    level = log(total)
    loss, weight = type(largest)(0), type(largest)(0)
    for i in range(count):
        share = target[i]
        weight += share
        # A class that the target excludes costs nothing, not even where its logit is -infinity.
        loss += share * (level - (x[i] - largest)) if share != type(largest)(0) else type(largest)(0)
    for i in range(count):
        grad[i] = ((grad[i] / total) * weight - target[i]) * scale
    return loss
