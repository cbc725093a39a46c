"""Sums that are formed in parts and added in an order that no number of threads changes."""

from .compile import jit


@jit
def add_parts(sums, out):
    """out = sums[0] + sums[1] + …, in this order."""
    for i in range(out.size):
        total = sums[0, i]
        for part in range(1, sums.shape[0]):
            total += sums[part, i]
        out[i] = total
