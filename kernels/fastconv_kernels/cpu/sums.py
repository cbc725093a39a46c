"""Sums that are formed in parts and added in an order that no number of threads changes."""

from .compile import apart, serial

STRETCH = 4096
"""Elements of all parts that are added before the next ones: they stay in the nearest cache."""


@apart
@serial
def add_parts(sums, out):
    """out = sums[0] + sums[1] + …, in this order."""
    for first in range(0, out.size, STRETCH):
        end = min(out.size, first + STRETCH)
        for i in range(first, end):
            out[i] = sums[0, i]
        for part in range(1, sums.shape[0]):
            for i in range(first, end):
                out[i] += sums[part, i]
