"""Convolution in NumPy: what every other kernel must compute.

A convolution is a sum over the taps of its window.  Tap (r, s) multiplies one matrix, the weights (K, C) of that tap, with
the image shifted by (r, s): a strided slice of the padded image.  The three directions are the three ways of leaving one of
the matrices out:

    out[:, pixel]   = sum over taps of  weight[tap] @ shifted[tap][:, pixel]
    shifted gradient [tap] += transposed weight[tap] @ grad_output
    grad_weight[tap] = grad_output @ transposed shifted[tap]

Whatever dtype comes in is the dtype of the sums, so that float64 arrays give the truth to which float32 kernels are held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from ..problems import Conv, ConvPool
from ..problems.pooled import WINDOW

Array = np.ndarray[Any, np.dtype[Any]]
Slices = tuple[slice, slice]
Problem = TypeVar("Problem", Conv, ConvPool)


def forward(x: Array, weight: Array, problem: Conv) -> Array:
    """Cross-correlate ``x`` with ``weight``, summing in their common dtype.

    Parameters
    ----------
    x : problem.x_shape
    weight : problem.weight_shape

    Returns
    -------
    problem.out_shape
    """
    padded, taps = _in_groups(_padded(x, problem), problem), _weight_in_groups(weight, problem)
    G, K = problem.groups, problem.K // problem.groups
    out = np.zeros((problem.N, G, K, problem.P * problem.Q), np.result_type(x, weight))
    for r, s, window in _taps(problem):
        out += taps[..., r, s] @ _pixels(padded[..., *window])
    return _from_groups(out, problem, problem.P, problem.Q)


def backward_input(grad_output: Array, weight: Array, problem: Conv) -> Array:
    """The gradient of the input: every output pixel's gradient, spread over the window it was computed from.

    Parameters
    ----------
    grad_output : problem.out_shape
    weight : problem.weight_shape

    Returns
    -------
    problem.x_shape
    """
    (top, bottom), (left, right) = problem.padding
    H, W = top + problem.H + bottom, left + problem.W + right
    G, C = problem.groups, problem.C // problem.groups
    gradients, taps = _pixels(_in_groups(_channels_first(grad_output, problem), problem)), _weight_in_groups(weight, problem)
    padded = np.zeros((problem.N, G, C, H, W), np.result_type(grad_output, weight))
    for r, s, window in _taps(problem):
        padded[..., *window] += (taps[..., r, s].swapaxes(-1, -2) @ gradients).reshape(problem.N, G, C, problem.P, problem.Q)
    return _from_groups(padded[..., top : H - bottom, left : W - right], problem, problem.H, problem.W)


def backward_weight(grad_output: Array, x: Array, problem: Conv) -> Array:
    """The gradient of the weights: each tap's products of gradient and shifted image, summed over pixels and images.

    Parameters
    ----------
    grad_output : problem.out_shape
    x : problem.x_shape

    Returns
    -------
    problem.weight_shape
    """
    padded = _in_groups(_padded(x, problem), problem)
    gradients = _pixels(_in_groups(_channels_first(grad_output, problem), problem))
    G, K, C = problem.groups, problem.K // problem.groups, problem.C // problem.groups
    grad_weight = np.zeros((G, K, C, problem.R, problem.S), np.result_type(grad_output, x))
    for r, s, window in _taps(problem):
        grad_weight[..., r, s] = (gradients @ _pixels(padded[..., *window]).swapaxes(-1, -2)).sum(0)
    grad_weight = grad_weight.reshape(problem.K, C, problem.R, problem.S)
    return grad_weight if problem.layout == "NCHW" else grad_weight.transpose(2, 3, 1, 0)


def _taps(problem: Conv) -> Iterator[tuple[int, int, Slices]]:
    """(r, s, what of the padded image that tap meets: one pixel for each of the output)."""
    for r in range(problem.R):
        for s in range(problem.S):
            yield (
                r,
                s,
                (
                    _stepped(r * problem.dilation[0], problem.P, problem.stride[0]),
                    _stepped(s * problem.dilation[1], problem.Q, problem.stride[1]),
                ),
            )


def _stepped(start: int, count: int, step: int) -> slice:
    return slice(start, start + (count - 1) * step + 1, step)


def _channels_first(images: Array, problem: Conv) -> Array:
    return images if problem.layout == "NCHW" else images.transpose(0, 3, 1, 2)


def _padded(x: Array, problem: Conv) -> Array:
    return np.pad(_channels_first(x, problem), ((0, 0), (0, 0), *problem.padding))


def _in_groups(images: Array, problem: Conv) -> Array:
    """(N, channels, height, width) → (N, G, channels / G, height, width)."""
    N, channels, height, width = images.shape
    return images.reshape(N, problem.groups, channels // problem.groups, height, width)


def _weight_in_groups(weight: Array, problem: Conv) -> Array:
    """(G, K / G, C / G, R, S)."""
    ordered = weight if problem.layout == "NCHW" else weight.transpose(3, 2, 0, 1)
    return ordered.reshape(problem.groups, problem.K // problem.groups, *ordered.shape[1:])


def _pixels(images: Array) -> Array:
    """(…, height, width) → (…, pixels)."""
    return images.reshape(*images.shape[:-2], images.shape[-2] * images.shape[-1])


def _from_groups(images: Array, problem: Conv, height: int, width: int) -> Array:
    """(N, G, channels / G, …) → the images in the problem's layout."""
    joined = images.reshape(problem.N, images.shape[1] * images.shape[2], height, width)
    return joined if problem.layout == "NCHW" else joined.transpose(0, 2, 3, 1)


class _Plan(Generic[Problem]):
    """What all plans share.  NumPy makes temporary arrays; there is no workspace to own."""

    workspace_bytes = 0

    def __init__(self, problem: Problem, threads: int) -> None:
        self.problem: Problem = problem
        self.threads = threads


class _WeightPlan(_Plan[Problem]):
    def pack(self, weight: Array, packed: Array | None = None) -> Array:
        """A copy of the weights, into ``packed`` if that is given."""
        if packed is None:
            packed = np.empty(self.problem.weight_shape, self.problem.dtype)
        np.copyto(packed, weight)
        return packed


class Forward(_WeightPlan[Conv]):
    """``forward`` and the epilogue."""

    def __call__(
        self,
        x: Array,
        packed: Array,
        out: Array,
        bias: Array | None = None,
        residual: Array | None = None,
        activation: str | None = None,
    ) -> Array:
        """Write ``activation(conv + bias + residual)`` into ``out``."""
        np.copyto(out, forward(x, packed, self.problem))
        if bias is not None:
            out += bias if self.problem.layout == "NHWC" else bias[:, None, None]
        if residual is not None:
            out += residual
        if activation == "relu":
            np.maximum(out, 0, out=out)
        return out


class BackwardInput(_WeightPlan[Conv]):
    """``backward_input``."""

    def __call__(self, grad_output: Array, packed: Array, out: Array) -> Array:
        """Write the gradient of the input into ``out``."""
        np.copyto(out, backward_input(grad_output, packed, self.problem))
        return out


class BackwardWeight(_Plan[Conv]):
    """``backward_weight``."""

    def __call__(self, grad_output: Array, x: Array, out: Array) -> Array:
        """Write the gradient of the weights into ``out``."""
        np.copyto(out, backward_weight(grad_output, x, self.problem))
        return out


CUT = 4
"""The position of a maximum that ReLU set to zero."""


def _windows(images: Array, problem: ConvPool) -> Array:
    """(N, P, Q, K, 4): the pixels of each window, of images of the convolution's output."""
    pixels = images if problem.layout == "NHWC" else images.transpose(0, 2, 3, 1)
    taps = [pixels[:, i : 2 * problem.P : 2, j : 2 * problem.Q : 2] for i in range(WINDOW) for j in range(WINDOW)]
    return np.stack(taps, -1)


def pooled(convolved: Array, problem: ConvPool) -> tuple[Array, Array]:
    """(maxima, positions) of the output of a convolution, before ReLU."""
    taps = _windows(convolved, problem)
    positions = np.where(np.isnan(taps).any(-1), 3 - np.isnan(taps[..., ::-1]).argmax(-1), taps.argmax(-1))
    best = np.take_along_axis(taps, positions[..., None], -1)[..., 0]
    cut = best <= 0
    best, positions = np.where(cut, best.dtype.type(0), best), np.where(cut, CUT, positions).astype(np.uint8)
    return (best, positions) if problem.layout == "NHWC" else (best.transpose(0, 3, 1, 2), positions.transpose(0, 3, 1, 2))


def expanded(grad: Array, positions: Array, problem: ConvPool) -> tuple[Array, Array]:
    """(gradient of the convolution's output, gradient of the bias) from that of the maxima."""
    out = np.zeros(problem.conv.out_shape, grad.dtype)
    for place in range(WINDOW * WINDOW):
        rows = slice(place // WINDOW, WINDOW * problem.P, WINDOW)
        columns = slice(place % WINDOW, WINDOW * problem.Q, WINDOW)
        where = (slice(None), rows, columns) if problem.layout == "NHWC" else (..., rows, columns)
        out[where] = np.where(positions == place, grad, grad.dtype.type(0))
    passed = np.where(positions < CUT, grad, grad.dtype.type(0))
    return out, passed.sum((0, 1, 2) if problem.layout == "NHWC" else (0, 2, 3), dtype=grad.dtype)


class PooledForward(_WeightPlan[ConvPool]):
    """A convolution whose output is seen by ReLU and 2 x 2 max pooling alone."""

    def __call__(
        self, x: Array, packed: Array, out: Array, positions: Array | None = None, bias: Array | None = None
    ) -> Array:
        """Write the maxima into ``out``, and where they were into ``positions``."""
        problem = self.problem
        convolved = forward(x, packed, problem.conv)
        if bias is not None:
            convolved += bias if problem.layout == "NHWC" else bias[:, None, None]
        best, places = pooled(convolved, problem)
        np.copyto(out, best)
        if positions is not None:
            np.copyto(positions, places)
        return out


class PooledBackwardEpilogue(_Plan[ConvPool]):
    """The way back through pooling, ReLU and bias."""

    def __call__(self, grad: Array, positions: Array, grad_conv: Array, grad_bias: Array | None = None) -> Array:
        """Write the gradient of the convolution's output into ``grad_conv``, that of the bias into ``grad_bias``."""
        full, bias = expanded(grad, positions, self.problem)
        np.copyto(grad_conv, full)
        if grad_bias is not None:
            np.copyto(grad_bias, bias)
        return grad_conv


class PooledBackwardWeight(_Plan[ConvPool]):
    """The gradients of weight and bias from that of the maxima."""

    def __call__(self, grad: Array, positions: Array, x: Array, out: Array, grad_bias: Array | None = None) -> Array:
        """Write the gradient of the weight into ``out``, that of the bias into ``grad_bias``."""
        full, bias = expanded(grad, positions, self.problem)
        np.copyto(out, backward_weight(full, x, self.problem.conv))
        if grad_bias is not None:
            np.copyto(grad_bias, bias)
        return out


class PooledBackwardInput(_WeightPlan[ConvPool]):
    """The gradient of the input from that of the maxima."""

    def __call__(self, grad: Array, positions: Array, packed: Array, out: Array) -> Array:
        """Write the gradient of the input into ``out``."""
        full, _ = expanded(grad, positions, self.problem)
        np.copyto(out, backward_input(full, packed, self.problem.conv))
        return out
