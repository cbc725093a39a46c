"""Pooling in NumPy: what every other kernel must compute.

Tap (i, j) of every window at once is a strided view of the padded image; pooling folds these views one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..problems import Pool, adaptive_windows

Array = np.ndarray[Any, np.dtype[Any]]


def _nchw(images: Array, problem: Pool) -> Array:
    return images if problem.layout == "NCHW" else images.transpose(0, 3, 1, 2)


def _framed(problem: Pool) -> tuple[int, int]:
    """Height and width of the image with every pixel that a window reaches."""
    return tuple(  # type: ignore[return-value]
        max((outputs - 1) * stride + (taps - 1) * dilation + 1, before + size)
        for outputs, taps, stride, dilation, (before, _), size in zip(
            (problem.P, problem.Q),
            (problem.R, problem.S),
            problem.stride,
            problem.dilation,
            problem.padding,
            (problem.H, problem.W),
            strict=True,
        )
    )


def _interior(problem: Pool) -> tuple[Any, ...]:
    """Where the image lies in its frame."""
    (top, _), (left, _) = problem.padding
    return (..., slice(top, top + problem.H), slice(left, left + problem.W))


def _taps(problem: Pool) -> Iterator[tuple[Any, ...]]:
    """Where tap (0, 0), (0, 1), … of all windows lies in the frame."""
    for i in range(problem.R):
        for j in range(problem.S):
            yield (
                ...,
                *(
                    slice(start, start + (outputs - 1) * stride + 1, stride)
                    for start, outputs, stride in zip(
                        (i * problem.dilation[0], j * problem.dilation[1]), (problem.P, problem.Q), problem.stride, strict=True
                    )
                ),
            )


def _positions(problem: Pool) -> Array:
    """h * W + w of each pixel of the frame, -1 in the padding."""
    frame = np.full(_framed(problem), -1, np.int64)
    frame[_interior(problem)] = np.arange(problem.H * problem.W).reshape(problem.H, problem.W)
    return frame


def _divisors(problem: Pool) -> Array:
    """(P, Q): by what the sum of each window is divided."""
    (top, bottom), (left, right) = problem.padding
    frame = np.zeros(_framed(problem), np.int64)
    if problem.count_padding:
        frame[: top + problem.H + bottom, : left + problem.W + right] = 1
    else:
        frame[_interior(problem)] = 1
    areas = sum(frame[tap] for tap in _taps(problem))
    return np.where(areas > 0, problem.divisor or areas, 1)


def _adaptive(problem: Pool) -> Iterator[tuple[tuple[int, int], tuple[range, range]]]:
    """((p, q), (rows, columns)) of every window of an adaptive pooling."""
    for p, rows in enumerate(adaptive_windows(problem.H, problem.P)):
        for q, columns in enumerate(adaptive_windows(problem.W, problem.Q)):
            yield (p, q), (rows, columns)


def _taken(images: Array, rows: range, columns: range) -> Array:
    """The pixels of one window, (N, C, rows, columns)."""
    return images[:, :, rows.start : rows.stop, columns.start : columns.stop]


def adaptive_average(x: Array, problem: Pool) -> Array:
    """The mean of each adaptive window of ``x`` (N, C, H, W)."""
    out = np.empty((*x.shape[:2], problem.P, problem.Q), x.dtype)
    for (p, q), window in _adaptive(problem):
        area = problem.divisor or len(window[0]) * len(window[1])
        out[:, :, p, q] = _taken(x, *window).sum(axis=(2, 3)) / x.dtype.type(area)
    return out


def adaptive_maximum(x: Array, problem: Pool) -> tuple[Array, Array]:
    """The maximum of each adaptive window of ``x`` (N, C, H, W), and its position."""
    best = np.empty((*x.shape[:2], problem.P, problem.Q), x.dtype)
    places = np.empty(best.shape, np.int64)
    for (p, q), (rows, columns) in _adaptive(problem):
        pixels = _taken(x, rows, columns).reshape(*x.shape[:2], -1)
        nan = np.isnan(pixels)
        last = pixels.shape[2] - 1 - nan[:, :, ::-1].argmax(axis=2)
        chosen = np.where(nan.any(axis=2), last, pixels.argmax(axis=2))
        best[:, :, p, q] = np.take_along_axis(pixels, chosen[:, :, None], 2)[:, :, 0]
        places[:, :, p, q] = (rows.start + chosen // len(columns)) * problem.W + columns.start + chosen % len(columns)
    return best, places


def adaptive_average_backward(grad_output: Array, problem: Pool) -> Array:
    """Each gradient goes, divided as the mean was, to all pixels of its window, window after window."""
    grad = np.zeros((*grad_output.shape[:2], problem.H, problem.W), grad_output.dtype)
    for (p, q), (rows, columns) in _adaptive(problem):
        share = grad_output[:, :, p, q] / grad.dtype.type(problem.divisor or len(rows) * len(columns))
        _taken(grad, rows, columns)[...] += share[:, :, None, None]
    return grad


def maximum(x: Array, problem: Pool) -> tuple[Array, Array]:
    """The maximum of each window of ``x`` (N, C, H, W) and its position h * W + w.

    The first of equal maxima is taken, and NaN before everything (the last one), as in torch.  A window that lies in the
    padding alone, which dilation makes possible, has the maximum -infinity at -1.
    """
    if problem.adaptive:
        return adaptive_maximum(x, problem)
    frame = np.full((*x.shape[:2], *_framed(problem)), -np.inf, x.dtype)
    frame[_interior(problem)] = x
    positions = _positions(problem)
    best = np.full((*x.shape[:2], problem.P, problem.Q), -np.inf, x.dtype)
    places = np.full(best.shape, -1, np.int64)
    for tap in _taps(problem):
        value, place = frame[tap], np.broadcast_to(positions[tap], best.shape)
        wins = (place >= 0) & ((places < 0) | (value > best) | np.isnan(value))
        best[wins], places[wins] = value[wins], place[wins]
    return best, places


def average(x: Array, problem: Pool) -> Array:
    """The mean of each window of ``x`` (N, C, H, W)."""
    if problem.adaptive:
        return adaptive_average(x, problem)
    frame = np.zeros((*x.shape[:2], *_framed(problem)), x.dtype)
    frame[_interior(problem)] = x
    total = np.zeros((*x.shape[:2], problem.P, problem.Q), x.dtype)
    for tap in _taps(problem):
        total += frame[tap]
    return total / _divisors(problem).astype(x.dtype)


def maximum_backward(grad_output: Array, indices: Array, problem: Pool) -> Array:
    """Each gradient goes to the pixel whose position is in ``indices``."""
    planes = problem.N * problem.C
    grad = np.zeros((planes, problem.H * problem.W), grad_output.dtype)
    places = indices.reshape(planes, problem.P * problem.Q)
    found = places >= 0
    plane = np.broadcast_to(np.arange(planes)[:, None], places.shape)
    np.add.at(grad, (plane[found], places[found]), grad_output.reshape(places.shape)[found])
    return grad.reshape(problem.x_shape_nchw)


def average_backward(grad_output: Array, problem: Pool) -> Array:
    """Each gradient goes, divided as the mean was, to all pixels of its window.

    From the last tap to the first: thus a pixel receives from the windows that cover it in their order.
    """
    if problem.adaptive:
        return adaptive_average_backward(grad_output, problem)
    frame = np.zeros((*grad_output.shape[:2], *_framed(problem)), grad_output.dtype)
    share = grad_output / _divisors(problem).astype(grad_output.dtype)
    for tap in reversed(list(_taps(problem))):
        frame[tap] += share
    return frame[_interior(problem)]


class Forward:
    """The functions above, in the problem's layout."""

    workspace_bytes = 0

    def __init__(self, problem: Pool, threads: int) -> None:
        self.problem, self.threads = problem, threads

    def __call__(self, x: Array, out: Array, indices: Array | None = None) -> Array:
        """Write the pooled images into ``out``, and where the maxima are into ``indices``."""
        problem = self.problem
        if problem.mode == "average":
            _nchw(out, problem)[...] = average(_nchw(x, problem), problem)
        else:
            best, places = maximum(_nchw(x, problem), problem)
            _nchw(out, problem)[...] = best
            if indices is not None:
                _nchw(indices, problem)[...] = places
        return out


class BackwardInput:
    """The functions above, in the problem's layout."""

    workspace_bytes = 0

    def __init__(self, problem: Pool, threads: int) -> None:
        self.problem, self.threads = problem, threads

    def __call__(self, grad_output: Array, *indices_and_out: Array) -> Array:
        """Write the gradient of the input into ``out``, the last argument; a maximum has ``indices`` before it."""
        problem, out = self.problem, indices_and_out[-1]
        gradient = _nchw(grad_output, problem)
        if problem.mode == "average":
            _nchw(out, problem)[...] = average_backward(gradient, problem)
        else:
            indices = np.ascontiguousarray(_nchw(indices_and_out[0], problem))
            _nchw(out, problem)[...] = maximum_backward(gradient, indices, problem)
        return out
