"""Reductions: the ranked tables, best first, the reference last.

``plan(x, out)`` of ``channel_sum``: out (channels,) = the sum of the rows of x (rows, channels), the gradient of a bias.
"""

from __future__ import annotations

from ..registry import Kernel
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
    Kernel("channel_sum", "forward", "reference", "numpy", reference.ChannelSum, summary="NumPy's own sum."),
]
