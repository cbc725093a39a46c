"""The plan of a convolution as a matrix product whose left operand is gathered: what its directions have in common."""

from __future__ import annotations

from .arrays import view
from .launch import start
from .operands import blocks, fitting

NOWHERE = -(2**30)
"""The first row of the window of a pixel that does not exist: no tap brings it into the image."""


class ImplicitProduct:
    """Made for a problem, with an engine and its tiles, the largest first, of which ``tile`` may be chosen.

    ``shape_of(problem)`` is the geometry of the product, or of the first of several.
    """

    workspace_bytes = 0

    def __init__(self, problem, threads=1, *, engine, tiles, tile=None):
        self.problem, self.threads, self.engine = problem, threads, engine
        self.geometry = self.shape_of(problem)
        self.tile = tile or fitting(tiles, self.geometry.M, self.geometry.N)

    def pack(self, weight, packed=None):
        """The weight itself: HWIO is the matrix B.

        Raises
        ------
        ValueError
            It has gaps, or another order.
        """
        if not view(weight).contiguous:
            raise ValueError(f"weight: expected C-contiguous (R, S, C, K), got strides {view(weight).strides}")
        return weight

    def compute(self, kernel, geometry, out, images, weight, epilogue, bias=None, addend=None):
        """Start ``kernel``, if there is anything to compute."""
        if out.size:
            count = blocks(self.tile, geometry.M, geometry.N)
            start(kernel, count, (out, images, weight, bias, addend), (geometry, epilogue))
