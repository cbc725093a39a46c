"""The definitions as loops over single numbers: slow, obvious, in float64, sharing nothing with the NumPy reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv_kernels.problems import Conv

Factor = tuple[tuple[int, int, int, int], tuple[int, int, int, int], tuple[int, int, int, int]]


def products(problem: Conv) -> Iterator[Factor]:
    """Every product in a convolution, as places (in out, in x, in the weight), all channels first.

    The seven loops: image, output channel, row, column, input channel of the group, row and column of the window.
    """
    p, (top, _), (left, _) = problem, problem.padding[0], problem.padding[1]
    outputs, depth = p.K // p.groups, p.C // p.groups
    for n in range(p.N):
        for k in range(p.K):
            for i in range(p.P):
                for j in range(p.Q):
                    for c in range(depth):
                        for r in range(p.R):
                            for s in range(p.S):
                                y = i * p.stride[0] + r * p.dilation[0] - top
                                x = j * p.stride[1] + s * p.dilation[1] - left
                                if 0 <= y < p.H and 0 <= x < p.W:
                                    yield (n, k, i, j), (n, k // outputs * depth + c, y, x), (k, c, r, s)


def forward(x: Any, weight: Any, problem: Conv) -> Any:
    """out (N, K, P, Q) of x (N, C, H, W) and weight (K, C / groups, R, S)."""
    out = np.zeros((problem.N, problem.K, problem.P, problem.Q))
    for at, source, tap in products(problem):
        out[at] += float(x[source]) * float(weight[tap])
    return out


def backward_input(grad_output: Any, weight: Any, problem: Conv) -> Any:
    """The gradient of x: every product gives its share to the pixel that it read."""
    gradient = np.zeros((problem.N, problem.C, problem.H, problem.W))
    for at, source, tap in products(problem):
        gradient[source] += float(grad_output[at]) * float(weight[tap])
    return gradient


def backward_weight(grad_output: Any, x: Any, problem: Conv) -> Any:
    """The gradient of the weight: every product gives its share to the tap that it used."""
    gradient = np.zeros((problem.K, problem.C // problem.groups, problem.R, problem.S))
    for at, source, tap in products(problem):
        gradient[tap] += float(grad_output[at]) * float(x[source])
    return gradient


def matmul(a: Any, b: Any) -> Any:
    """(M, N) of a (M, K) and b (K, N)."""
    (M, K), N = a.shape, b.shape[1]
    out = np.zeros((M, N))
    for m in range(M):
        for n in range(N):
            for k in range(K):
                out[m, n] += float(a[m, k]) * float(b[k, n])
    return out
