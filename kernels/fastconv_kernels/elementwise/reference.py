"""Activations and maxout in NumPy: the definitions, and their derivatives at the kinks as torch has them."""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, pi, sqrt
from typing import Any

import numpy as np

from ..problems import Elementwise, Maxout

Array = np.ndarray[Any, np.dtype[Any]]


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def _normal_probability(x: Array) -> Array:
    """How likely a standard normal variable is at most x."""
    return np.asarray(np.frompyfunc(erfc, 1, 1)(-x * sqrt(0.5)) / 2, x.dtype)


def _density(x: Array) -> Array:
    """Of a standard normal variable."""
    return np.asarray(np.exp(-0.5 * x * x) / sqrt(2 * pi))


FORWARD: dict[str, Callable[[Array, float], Array]] = {
    "relu": lambda x, parameter: np.maximum(x, 0),
    "leaky_relu": lambda x, slope: np.where(x > 0, x, x * slope),
    "elu": lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "sigmoid": lambda x, parameter: _sigmoid(x),
    "tanh": lambda x, parameter: np.tanh(x),
    "gelu": lambda x, parameter: x * _normal_probability(x),
    "silu": lambda x, parameter: x * _sigmoid(x),
}

BACKWARD: dict[str, Callable[[Array, Array, Array, float], Array]] = {
    "relu": lambda gradient, x, y, parameter: np.where(y <= 0, 0, gradient),
    "leaky_relu": lambda gradient, x, y, slope: np.where(x > 0, gradient, gradient * slope),
    "elu": lambda gradient, x, y, alpha: np.where(x <= 0, gradient * (alpha * np.exp(np.minimum(x, 0))), gradient),
    "sigmoid": lambda gradient, x, y, parameter: gradient * (y * (1 - y)),
    "tanh": lambda gradient, x, y, parameter: gradient * (1 - y * y),
    "gelu": lambda gradient, x, y, parameter: gradient * (_normal_probability(x) + x * _density(x)),
    "silu": lambda gradient, x, y, parameter: gradient * _sigmoid(x) * (1 + x * (1 - _sigmoid(x))),
}


class Forward:
    """``plan(x, out)``"""

    workspace_bytes = 0

    def __init__(self, problem: Elementwise, threads: int) -> None:
        self.problem, self.threads = problem, threads

    def __call__(self, x: Array, out: Array) -> Array:
        """Write the function of ``x`` into ``out``."""
        out[...] = FORWARD[self.problem.function](x, self.problem.parameter)
        return out


class BackwardInput:
    """``plan(grad_output, x, y, out)``"""

    workspace_bytes = 0

    def __init__(self, problem: Elementwise, threads: int) -> None:
        self.problem, self.threads = problem, threads

    def __call__(self, grad_output: Array, x: Array, y: Array, out: Array) -> Array:
        """Write ``grad_output`` times the derivative at ``x`` into ``out``."""
        out[...] = BACKWARD[self.problem.function](grad_output, x, y, self.problem.parameter)
        return out


def _pieces(x: Array, problem: Maxout) -> Array:
    """x as (outer, channels, pieces, inner)."""
    return x.reshape(problem.outer, problem.channels, problem.pieces, problem.inner)


class MaxoutForward:
    """``plan(x, out)``"""

    workspace_bytes = 0

    def __init__(self, problem: Maxout, threads: int) -> None:
        self.problem, self.threads = problem, threads

    def __call__(self, x: Array, out: Array) -> Array:
        """Write the largest of each channel's pieces into ``out``."""
        _pieces(x, self.problem).max(axis=2, out=out.reshape(self.problem.out_shape))
        return out


class MaxoutBackwardInput:
    """``plan(grad_output, x, out)``"""

    workspace_bytes = 0

    def __init__(self, problem: Maxout, threads: int) -> None:
        self.problem, self.threads = problem, threads

    def __call__(self, grad_output: Array, x: Array, out: Array) -> Array:
        """Write each gradient to the piece that was the first largest (NaN is larger than all), zeros to the others."""
        first = _pieces(x, self.problem).argmax(axis=2)[:, :, None]
        chosen = first == np.arange(self.problem.pieces)[:, None]
        gradient = grad_output.reshape(self.problem.out_shape)[:, :, None]
        _pieces(out, self.problem)[...] = np.where(chosen, gradient, 0)
        return out
