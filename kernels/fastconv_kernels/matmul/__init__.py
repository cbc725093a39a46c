"""The matrix product: the ranked table of its one direction, best first, the reference last.

``plan(a, b, out, bias=None, residual=None, activation=None)`` writes activation(a @ b + bias + residual) into ``out`` (M, N).
``a`` (M, K) and ``b`` (K, N) are each C-contiguous or the transpose of a C-contiguous array; bias (N,), residual (M, N) and
``out`` are C-contiguous; activation is None or "relu".  The gradients of a product are products, so that there is no other
direction.
"""

from __future__ import annotations

from ..registry import Kernel
from . import reference

FORWARD = [
    Kernel("matmul", "forward", "reference", "numpy", reference.Forward, summary="NumPy's own product"),
]
