"""Changing layouts: the ranked tables, best first, the reference last.

``plan(x, out)`` of ``nchw_to_nhwc``: x (N, C, pixels), out (N, pixels, C); of ``nhwc_to_nchw`` the other way.
"""

from __future__ import annotations

from ..registry import Kernel
from . import blocked_cpu, reference

_BLOCKED, _REFERENCE = "block by block, a cache line each way", "NumPy's swapaxes"

NCHW_TO_NHWC_FORWARD = [
    Kernel("nchw_to_nhwc", "forward", "blocked", "cpu", blocked_cpu.Swap, summary=_BLOCKED),
    Kernel("nchw_to_nhwc", "forward", "reference", "numpy", reference.Swap, summary=_REFERENCE),
]

NHWC_TO_NCHW_FORWARD = [
    Kernel("nhwc_to_nchw", "forward", "blocked", "cpu", blocked_cpu.Swap, summary=_BLOCKED),
    Kernel("nhwc_to_nchw", "forward", "reference", "numpy", reference.Swap, summary=_REFERENCE),
]
