"""Pooling by loops over every output and every tap: what the NumPy reference must compute."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv_kernels.problems import Pool


def _even(output: int, length: int, outputs: int) -> range:
    return range(math.floor(output * length / outputs), math.ceil((output + 1) * length / outputs))


def _windows(problem: Pool) -> Iterator[tuple[tuple[int, int, int, int], list[tuple[int, int]], int]]:
    """((n, c, p, q), the pixels of the window inside the image, how many a mean counts) of every output."""
    (top, bottom), (left, right) = problem.padding
    for n, c, p, q in np.ndindex(problem.N, problem.C, problem.P, problem.Q):
        pixels, counted = [], 0
        if problem.adaptive:
            rows, columns = _even(p, problem.H, problem.P), _even(q, problem.W, problem.Q)
            pixels = [(h, w) for h in rows for w in columns]
            yield (n, c, p, q), pixels, problem.divisor or len(pixels)
            continue
        for i in range(problem.R):
            for j in range(problem.S):
                h = p * problem.stride[0] - top + i * problem.dilation[0]
                w = q * problem.stride[1] - left + j * problem.dilation[1]
                inside = 0 <= h < problem.H and 0 <= w < problem.W
                if inside:
                    pixels.append((h, w))
                counted += inside or (problem.count_padding and h < problem.H + bottom and w < problem.W + right)
        yield (n, c, p, q), pixels, problem.divisor or max(1, counted)  # of no pixel the mean is 0


def maximum(x: Any, problem: Pool) -> tuple[Any, Any]:
    """(maxima, positions) of ``x`` (N, C, H, W)."""
    best = np.full((problem.N, problem.C, problem.P, problem.Q), -np.inf, x.dtype)
    places = np.full(best.shape, -1, np.int64)
    for at, pixels, _ in _windows(problem):
        for h, w in pixels:
            value = x[at[0], at[1], h, w]
            if places[at] < 0 or value > best[at] or np.isnan(value):
                best[at], places[at] = value, h * problem.W + w
    return best, places


def average(x: Any, problem: Pool) -> Any:
    """Means of ``x`` (N, C, H, W)."""
    out = np.zeros((problem.N, problem.C, problem.P, problem.Q), x.dtype)
    for at, pixels, divisor in _windows(problem):
        out[at] = sum((x[at[0], at[1], h, w] for h, w in pixels), x.dtype.type(0)) / x.dtype.type(divisor)
    return out


def maximum_backward(grad_output: Any, indices: Any, problem: Pool) -> Any:
    grad = np.zeros((problem.N, problem.C, problem.H * problem.W), grad_output.dtype)
    for n, c, p, q in np.ndindex(grad_output.shape):
        if indices[n, c, p, q] >= 0:
            grad[n, c, indices[n, c, p, q]] += grad_output[n, c, p, q]
    return grad.reshape(problem.x_shape_nchw)


def average_backward(grad_output: Any, problem: Pool) -> Any:
    grad = np.zeros(problem.x_shape_nchw, grad_output.dtype)
    for at, pixels, divisor in _windows(problem):
        for h, w in pixels:
            grad[at[0], at[1], h, w] += grad_output[at] / grad_output.dtype.type(divisor)
    return grad
