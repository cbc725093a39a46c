"""On the host: which tile a product takes, and which variant of a kernel the arrays of a call need.

A kernel is compiled for the order of its operands in memory and for how many words of them can be copied, and of the result
stored, at a time.  A call finds its variant by the strides and addresses of its arrays; a new variant is compiled once.
"""

from __future__ import annotations

from typing import NamedTuple

from .arrays import View
from .panel import ACROSS, ALONG

MULTIPROCESSORS = 132
"""Of an H100 or H200: fewer blocks than these leave some of them idle."""


class Operand(NamedTuple):
    """A or B in memory: how its elements are ordered, the distance of its lines, the words that can be copied at a time."""

    order: str
    pitch: int
    width: int

    def every(self, step: int) -> Operand:
        """Of matrices that lie ``step`` elements apart."""
        return self if step % 4 == 0 else self._replace(width=1)


def blocks(tile, rows, columns):
    """How many blocks compute a product of this size."""
    return -(-rows // tile.rows) * -(-columns // tile.columns)


def fitting(tiles, rows, columns):
    """The first tile, which is the largest, that gives every multiprocessor a block, else the last."""
    return next((tile for tile in tiles if blocks(tile, rows, columns) >= MULTIPROCESSORS), tiles[-1])


def covered(tiles, rows, columns):
    """The first tile, which is the largest, that a product of this size fills, else the last."""
    return next((tile for tile in tiles if tile.rows <= rows and tile.columns <= columns), tiles[-1])


def aligned(array: View, pitch: int) -> bool:
    """Whether each line of an array, ``pitch`` elements apart, can be copied 16 bytes at a time."""
    return array.address % 16 == 0 and pitch % 4 == 0


def operand(matrix: View, k_axis: int) -> Operand:
    """A matrix as an operand of a product that sums along ``k_axis``.

    Raises
    ------
    ValueError
        Neither axis has a stride of one element.
    """
    length, depth = matrix.shape[1 - k_axis], matrix.shape[k_axis]
    across, along = matrix.strides[1 - k_axis], matrix.strides[k_axis]
    if along == 1 or (depth <= 1 and across != 1):
        order, pitch, extent = ALONG, across if length > 1 else depth, depth
    elif across == 1 or length <= 1:
        order, pitch, extent = ACROSS, along if depth > 1 else length, length
    else:
        raise ValueError(f"expected a matrix with a stride of one element, got strides {matrix.strides}")
    return Operand(order, pitch, 4 if aligned(matrix, pitch) and extent % 4 == 0 else 1)


def store_width(out: View) -> int:
    """How many elements of a matrix's rows can be stored at a time: 4, 2 or 1."""
    columns = out.shape[-1]
    return next(width for width in (4, 2, 1) if columns % width == 0 and out.address % (4 * width) == 0)
