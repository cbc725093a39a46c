"""Sums over rows on the GPU: ``cuda.channel_sums`` of a matrix, the elements themselves.

Blocks sum parts of the rows, for up to 32 columns side by side; a second launch adds the parts in their order.
"""

from ..cuda.channel_sums import ChannelSums, of_matrix


class ChannelSum(ChannelSums):
    """``plan(x, out)``: out (channels,) = the sum of the rows of x (rows, channels)."""

    def __init__(self, problem, threads=1):
        self.problem, self.threads = problem, threads
        super().__init__(problem.rows, problem.columns, of_matrix(problem.rows, problem.columns))

    def __call__(self, x, out):
        """Write the sum of the rows of ``x`` into ``out``."""
        return super().__call__([x], out)
