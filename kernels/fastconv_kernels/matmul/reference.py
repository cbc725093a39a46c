"""The matrix product in NumPy: what every other kernel must compute."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problems import Matmul

Array = np.ndarray[Any, np.dtype[Any]]


def forward(a: Array, b: Array, problem: Matmul) -> Array:
    """``a`` (M, K) times ``b`` (K, N), summed in their common dtype over one term after the other.

    A matrix product is a sum of K outer products: column k of ``a`` times row k of ``b``.
    """
    out = np.zeros((problem.M, problem.N), np.result_type(a, b))
    for k in range(problem.K):
        out += a[:, k, None] * b[k]
    return out


class Forward:
    """NumPy's own matrix product, and the epilogue."""

    workspace_bytes = 0

    def __init__(self, problem: Matmul, threads: int) -> None:
        self.problem, self.threads = problem, threads

    def __call__(
        self,
        a: Array,
        b: Array,
        out: Array,
        bias: Array | None = None,
        residual: Array | None = None,
        activation: str | None = None,
    ) -> Array:
        """Write ``activation(a @ b + bias + residual)`` into ``out``, which may be ``residual``."""
        residual = residual.copy() if residual is out else residual
        np.matmul(a, b, out=out)
        if bias is not None:
            out += bias
        if residual is not None:
            out += residual
        if activation == "relu":
            np.maximum(out, 0, out=out)
        return out
