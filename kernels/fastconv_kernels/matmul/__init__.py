"""The matrix product: the ranked table of its one direction, best first, the reference last.

``plan(a, b, out, bias=None, residual=None, activation=None)`` writes activation(a @ b + bias + residual) into ``out`` (M, N).
``a`` (M, K) and ``b`` (K, N) are each C-contiguous or the transpose of a C-contiguous array; bias (N,), residual (M, N) and
``out`` are C-contiguous; activation is None or "relu".  The gradients of a product are products, so that there is no other
direction.
"""

from __future__ import annotations

from ..registry import Kernel
from . import blocked_cpu, reference

FORWARD = [
    Kernel(
        "matmul",
        "forward",
        "blocked",
        "cpu",
        blocked_cpu.BlockedMatmul,
        summary="Panels of A and B packed for the caches, a tile of C in registers, bias, residual and relu in its store.",
        source="Goto & van de Geijn, 2008; Van Zee & van de Geijn, BLIS, 2015",
    ),
    Kernel("matmul", "forward", "reference", "numpy", reference.Forward, summary="NumPy's own product."),
]
