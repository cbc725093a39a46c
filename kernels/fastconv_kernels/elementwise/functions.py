"""Activations, written once: one element, forwards and backwards.

``f(x, parameter)`` and ``f_backward(gradient, x, y, parameter)``, y = f(x); all of one type, in which they compute.
At the kinks the derivatives, and for NaN the results, are those of torch.
"""

from ..mathematics import exp, expm1
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


def sigmoid(x, parameter):
    """1 / (1 + e**-x)"""
    e = exp(-abs(x))  # at most 1: nothing overflows
    return (e if x < type(x)(0) else type(x)(1)) / (type(x)(1) + e)


def sigmoid_backward(gradient, x, y, parameter):
    """y * (1 - y)"""
    return gradient * (y * (type(x)(1) - y))


def tanh(x, parameter):
    """The hyperbolic tangent"""
    return hyperbolic_tangent(x)


def tanh_backward(gradient, x, y, parameter):
    """1 - y**2"""
    return gradient * (type(x)(1) - y * y)


def larger(best, value):
    """The maximum so far; NaN if one is."""
    return value if (value > best) | (value != value) else best
