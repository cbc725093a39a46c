"""Reductions: the ranked tables, best first, the reference last.

``plan(x, out)`` of ``channel_sum``: out (channels,) = the sum of the rows of x (rows, channels), the gradient of a bias.
"""

from __future__ import annotations

from ..registry import Kernel, deferred, single_precision
from . import parts_cpu, reference

CHANNEL_SUM_FORWARD = [
    Kernel(
        "channel_sum",
        "forward",
        "parts",
        "cpu",
        parts_cpu.ChannelSum,
        summary="Parts fixed by the problem, four rows at a time.",
    ),
    Kernel(
        "channel_sum",
        "forward",
        "parts",
        "cuda",
        deferred("reduction.parts_cuda", "ChannelSum"),
        refuses=single_precision,
        summary="Parts fixed by the problem, a block each; a second launch adds them in their order.",
        source="Harris, Optimizing Parallel Reduction in CUDA, 2007",
    ),
    Kernel("channel_sum", "forward", "reference", "numpy", reference.ChannelSum, summary="NumPy's own sum."),
]
