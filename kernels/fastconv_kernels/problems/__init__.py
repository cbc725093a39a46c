"""What is to be computed: shapes and the arithmetic on shapes, without a word about how.

A problem is a frozen value.  It is made once, by the caller's arguments; making it checks every relation between them, so
that a kernel can trust what it reads.  An impossible problem raises ``ValueError`` naming the argument.

Letters, everywhere the same: N C H W input · K C R S weight · P Q output · G groups (K and C are totals).
"""

from __future__ import annotations

from .arrays import ELEMENTWISE, FLOATS, BatchNorm, Dropout, Elementwise, Gather, Matmul, Maxout, Rows, Transposition, Update
from .pooled import ConvPool
from .windows import LAYOUTS, NO_PADDING, Conv, Pool, adaptive_windows, padding_pairs

__all__ = [
    "ELEMENTWISE",
    "FLOATS",
    "LAYOUTS",
    "NO_PADDING",
    "BatchNorm",
    "Conv",
    "ConvPool",
    "Dropout",
    "Elementwise",
    "Gather",
    "Matmul",
    "Maxout",
    "Pool",
    "Rows",
    "Transposition",
    "Update",
    "adaptive_windows",
    "padding_pairs",
]
