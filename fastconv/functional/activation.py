"""Activations, element by element, and maxout; each with the gradient of its input."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .. import dispatch
from ..dispatch import Elementwise, Maxout, Settings, around
from ..errors import ArgumentError
from . import _check
from ._check import Array
from ._flat import axis_of, number, output
from ._placement import anywhere


@anywhere
def relu(x: Any, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None) -> Array:
    """max(x, 0); NaN stays NaN.

    Parameters
    ----------
    x : array of any shape and strides, float32 or float64
    out : shape of ``x``, optional
        Overwritten in place; C-contiguous, of ``x``'s dtype; ``x`` itself, or overlapping with no input.
    algorithm, target : str, optional
        See ``fastconv.use``.

    Returns
    -------
    shape of ``x``

    Raises
    ------
    ArgumentError, DtypeError
        An argument of a wrong value, shape or dtype.
    UnsupportedError, TargetUnavailableError
        No kernel computes it as asked.
    """
    return _forward("relu", x, 0.0, out, algorithm, target)


@anywhere
def relu_backward(
    grad_output: Any, x: Any, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None
) -> Array:
    """``grad_output`` where ``x``, relu's input or its result, is not at most 0; 0 elsewhere.

    Both have the same shape and dtype; ``out`` may be either of them.  The rest is as in ``relu``.
    """
    return _backward("relu", grad_output, "x", x, 0.0, out, algorithm, target)


@anywhere
def leaky_relu(
    x: Any, negative_slope: float = 0.01, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None
) -> Array:
    """``x`` where it is positive, ``negative_slope * x`` elsewhere; the other arguments and the errors as ``relu``'s.

    Source: Maas, Hannun, Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic Models", 2013.
    """
    return _forward("leaky_relu", x, number("negative_slope", negative_slope), out, algorithm, target)


@anywhere
def leaky_relu_backward(
    grad_output: Any,
    x: Any,
    negative_slope: float = 0.01,
    *,
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array:
    """``grad_output`` where the input ``x`` is positive, ``negative_slope * grad_output`` elsewhere; see ``relu_backward``."""
    return _backward("leaky_relu", grad_output, "x", x, number("negative_slope", negative_slope), out, algorithm, target)


@anywhere
def elu(
    x: Any, alpha: float = 1.0, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None
) -> Array:
    """``x`` where it is positive, ``alpha * (e**x - 1)`` elsewhere; the other arguments and the errors as ``relu``'s.

    Source: Clevert, Unterthiner, Hochreiter, "Fast and Accurate Deep Network Learning by Exponential Linear Units", 2016.
    """
    return _forward("elu", x, number("alpha", alpha), out, algorithm, target)


@anywhere
def elu_backward(
    grad_output: Any,
    x: Any,
    alpha: float = 1.0,
    *,
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array:
    """``grad_output`` where the input ``x`` is positive, ``alpha * e**x * grad_output`` elsewhere; see ``relu_backward``."""
    return _backward("elu", grad_output, "x", x, number("alpha", alpha), out, algorithm, target)


@anywhere
def sigmoid(x: Any, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None) -> Array:
    """1 / (1 + e**-x), without overflow; arguments and errors as ``relu``'s."""
    return _forward("sigmoid", x, 0.0, out, algorithm, target)


@anywhere
def sigmoid_backward(
    grad_output: Any, y: Any, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None
) -> Array:
    """``grad_output * y * (1 - y)``; ``y`` is the sigmoid itself; the rest as in ``relu_backward``."""
    return _backward("sigmoid", grad_output, "y", y, 0.0, out, algorithm, target)


@anywhere
def tanh(x: Any, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None) -> Array:
    """The hyperbolic tangent of ``x``; arguments and errors as ``relu``'s."""
    return _forward("tanh", x, 0.0, out, algorithm, target)


@anywhere
def tanh_backward(
    grad_output: Any, y: Any, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None
) -> Array:
    """``grad_output * (1 - y**2)``; ``y`` is the hyperbolic tangent itself; the rest as in ``relu_backward``."""
    return _backward("tanh", grad_output, "y", y, 0.0, out, algorithm, target)


@anywhere
def gelu(x: Any, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None) -> Array:
    """``x`` times the probability that a standard normal variable is at most ``x``; arguments and errors as ``relu``'s.

    Source: Hendrycks, Gimpel, "Gaussian Error Linear Units", 2016.
    """
    return _forward("gelu", x, 0.0, out, algorithm, target)


@anywhere
def gelu_backward(
    grad_output: Any, x: Any, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None
) -> Array:
    """``grad_output`` times the derivative of ``gelu`` at its input ``x``; the rest as in ``relu_backward``."""
    return _backward("gelu", grad_output, "x", x, 0.0, out, algorithm, target)


@anywhere
def silu(x: Any, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None) -> Array:
    """``x / (1 + e**-x)``; arguments and errors as ``relu``'s.

    Source: Elfwing, Uchibe, Doya, "Sigmoid-Weighted Linear Units", 2018.
    """
    return _forward("silu", x, 0.0, out, algorithm, target)


@anywhere
def silu_backward(
    grad_output: Any, x: Any, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None
) -> Array:
    """``grad_output`` times the derivative of ``silu`` at its input ``x``; the rest as in ``relu_backward``."""
    return _backward("silu", grad_output, "x", x, 0.0, out, algorithm, target)


@anywhere
def maxout(
    x: Any,
    pieces: int,
    axis: int = 1,
    *,
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array:
    """The largest of each ``pieces`` neighbours along ``axis``, whose length becomes a ``pieces``-th; NaN if one is.

    Parameters
    ----------
    x : array of any shape and strides, float32 or float64
    pieces : int
        Divides the length of ``axis``.
    axis : int
        By default that of the channels in NCHW.
    out : shape of the result, optional
        Overwritten in place; C-contiguous, of ``x``'s dtype, overlapping with no input.
    algorithm, target : str, optional
        See ``fastconv.use``.

    Raises
    ------
    ArgumentError, DtypeError, UnsupportedError, TargetUnavailableError
        As ``relu``.

    Source: Goodfellow et al., "Maxout Networks", 2013.
    """
    x = _check.array("x", x)
    problem, shape = _maxout_problem(x, pieces, axis)
    out = _check.output(out, shape, x.dtype.newbyteorder("="), {"x": x})
    with dispatch.lender("maxout", "forward", problem, Settings(target, algorithm)).lend() as plan:
        plan(_check.contiguous(x), out)
    return out


@anywhere
def maxout_backward(
    grad_output: Any,
    x: Any,
    pieces: int,
    axis: int = 1,
    *,
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array:
    """Each element of ``grad_output`` at the piece of ``x`` that was the first largest, 0 at the others.

    ``x`` is the input, ``grad_output`` has the shape of the result, ``out`` that of ``x``; the rest as in ``maxout``.
    """
    x = _check.array("x", x)
    problem, shape = _maxout_problem(x, pieces, axis)
    given = _check.shaped("grad_output", grad_output, shape, x.dtype.newbyteorder("="))
    out = _check.output(out, x.shape, x.dtype.newbyteorder("="), {"grad_output": given, "x": x})
    with dispatch.lender("maxout", "backward_input", problem, Settings(target, algorithm)).lend() as plan:
        plan(_check.contiguous(given), _check.contiguous(x), out)
    return out


def _forward(function: str, x: Any, parameter: float, out: Array | None, algorithm: str | None, target: str | None) -> Array:
    x = _check.array("x", x)
    result = output(out, x, x=x)
    _settled(around(), "forward", function, x.size, result.dtype, parameter, algorithm, target)(_check.contiguous(x), result)
    return result


def _backward(
    function: str,
    grad_output: Any,
    name: str,
    known: Any,
    parameter: float,
    out: Array | None,
    algorithm: str | None,
    target: str | None,
) -> Array:
    """``known`` is the input or the result, whichever the derivative is worked out from."""
    known = _check.array(name, known)
    given = _check.shaped("grad_output", grad_output, known.shape, known.dtype.newbyteorder("="))
    result = output(out, known, **{"grad_output": given, name: known})
    lender = _settled(around(), "backward_input", function, known.size, result.dtype, parameter, algorithm, target)
    point = _check.contiguous(known)
    lender(_check.contiguous(given), point, point, result)
    return result


@dispatch.remembered
def _settled(
    _around: dispatch.Around,
    direction: str,
    function: str,
    size: int,
    dtype: np.dtype[Any],
    parameter: float,
    algorithm: str | None,
    target: str | None,
) -> dispatch.Lender:
    """Who computes a function of so many elements."""
    problem = Elementwise(function, size, dtype.name, parameter)
    return dispatch.lender("elementwise", direction, problem, Settings(target, algorithm))


def _maxout_problem(x: Array, pieces: Any, axis: Any) -> tuple[Maxout, tuple[int, ...]]:
    """(the problem, the shape of its result)"""
    if not _check.integer(pieces) or pieces < 1:
        raise ArgumentError(f"pieces: expected an integer of at least 1, got {pieces!r}")
    axis, pieces = axis_of(x, "x", axis), int(pieces)
    length = x.shape[axis]
    if length % pieces:
        raise ArgumentError(f"pieces: expected a divisor of {length}, the length of axis {axis} of x, got {pieces}")
    shape = (*x.shape[:axis], length // pieces, *x.shape[axis + 1 :])
    return Maxout(prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]), pieces, x.dtype.name), shape
