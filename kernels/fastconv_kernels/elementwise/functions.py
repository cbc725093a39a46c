"""Activations, written once: one element, forwards and backwards.

``f(x, parameter)`` and ``f_backward(gradient, x, y, parameter)``, y = f(x); all of one type, in which they compute.
At the kinks the derivatives, and for NaN the results, are those of torch.
"""

from math import pi, sqrt

from numba.extending import register_jitable

from ..mathematics import exp, expm1, normal_probability
from ..mathematics import tanh as hyperbolic_tangent


def relu(x, parameter):
    """max(x, 0)"""
    return type(x)(0) if x < type(x)(0) else x


def relu_backward(gradient, x, y, parameter):
    """1 where y > 0"""
    return type(x)(0) if y <= type(x)(0) else gradient


def leaky_relu(x, parameter):
    """x, below 0 times the parameter"""
    return x if x > type(x)(0) else x * parameter


def leaky_relu_backward(gradient, x, y, parameter):
    """1, below 0 the parameter"""
    return gradient if x > type(x)(0) else gradient * parameter


def elu(x, parameter):
    """x, below 0 parameter * (e**x - 1)"""
    return x if x > type(x)(0) else parameter * expm1(x)


def elu_backward(gradient, x, y, parameter):
    """1, below 0 parameter * e**x"""
    return gradient * (parameter * exp(x)) if x <= type(x)(0) else gradient


@register_jitable(forceinline=True)
def logistic(x):
    e = exp(-abs(x))  # at most 1: nothing overflows
    return (e if x < type(x)(0) else type(x)(1)) / (type(x)(1) + e)


def sigmoid(x, parameter):
    """1 / (1 + e**-x)"""
    return logistic(x)


def sigmoid_backward(gradient, x, y, parameter):
    """y * (1 - y)"""
    return gradient * (y * (type(x)(1) - y))


def tanh(x, parameter):
    """The hyperbolic tangent"""
    return hyperbolic_tangent(x)


def tanh_backward(gradient, x, y, parameter):
    """1 - y**2"""
    return gradient * (type(x)(1) - y * y)


def gelu(x, parameter):
    """x * the probability that a standard normal variable is at most x"""
    return x * normal_probability(x)


def gelu_backward(gradient, x, y, parameter):
    """The probability, and x times its density"""
    density = type(x)(1 / sqrt(2 * pi)) * exp(type(x)(-0.5) * x * x)
    return gradient * (normal_probability(x) + x * density)


def silu(x, parameter):
    """x / (1 + e**-x)"""
    return x * logistic(x)


def silu_backward(gradient, x, y, parameter):
    """s * (1 + x * (1 - s)), s the sigmoid of x"""
    s = logistic(x)
    return gradient * (s * (type(x)(1) + x * (type(x)(1) - s)))


def larger(best, value):
    """The maximum so far; NaN if one is."""
    return value if (value > best) | (value != value) else best
