"""Windows of a convolution under 2 x 2 max pooling, as rows of elements in a frame: what the sparse gradients read.

Of the four pixels of a pooling window one has a gradient, and which one differs from channel to channel.  A channel is
therefore taken by itself: its gradient is a number, and what it is multiplied with, a whole window of the convolution, lies
in memory as R rows of S * C elements, *pieces* of which are tiles whose lanes are filled.  A quarter of the multiplications
is left, but every one of them loads a vector: what is loaded must stay in the nearest cache.
"""

from typing import NamedTuple

import numpy as np

from ..cpu.simd import LANES, registers
from ..cpu.tile import Tile
from ..cpu.workspace import caches, even
from ..problems.pooled import WINDOW

SUMS = 20 if registers() > 16 else 12
"""The most vectors of sums: the rest of the registers hold a number and addresses."""


class Geometry(NamedTuple):
    """Lengths of one image; steps in elements of its frame.

    rows, columns, channels : of the image
    top, left : of the border above and beside it
    height, width : of the frame, in pixels
    down, across : from one pooling window to the next
    line : from one row of a window of the convolution to the next
    P, Q, K : pooling windows and their channels
    R, length : rows of a window of the convolution, and elements of each
    starts, hop, wide : of rows that are laid out (``pooled_rows_cpu``): how many pieces, elements of the frame from one to
        the next, and elements of each; none where they are not
    """

    rows: int
    columns: int
    channels: int
    top: int
    left: int
    height: int
    width: int
    down: int
    across: int
    line: int
    P: int
    Q: int
    K: int
    R: int
    length: int
    starts: int = 0
    hop: int = 0
    wide: int = 0

    @property
    def frame(self):
        """Elements."""
        return self.height * self.width * self.channels

    @property
    def laid_out(self):
        """Elements of the rows that are, with those that a tile reaches beyond the last; 0: there are none."""
        return self.height * self.starts * self.wide + self.R * self.line if self.wide else 0

    @property
    def windows(self):
        """Elements of the maxima of an image."""
        return self.P * self.Q * self.K


def geometry(problem):
    """The ``Geometry`` of a ``ConvPool``, and the offsets of the four places in a window."""
    conv = problem.conv
    (top, bottom), (left, right) = conv.padding
    height, width = conv.H + top + bottom, conv.W + left + right
    pitch, (down, across) = width * conv.C, conv.stride
    steps = np.array([i * down * pitch + j * across * conv.C for i in range(WINDOW) for j in range(WINDOW)], np.intp)
    lengths = Geometry(
        *(conv.H, conv.W, conv.C, top, left, height, width, WINDOW * down * pitch, WINDOW * across * conv.C),
        *(conv.dilation[0] * pitch, problem.P, problem.Q, problem.K, conv.R, conv.S * conv.C),
    )
    return lengths, steps


def origins_of(lengths):
    """(windows, K) where in the frame the first place of each window is, for every channel of it."""
    origins = np.add.outer(np.arange(lengths.P) * lengths.down, np.arange(lengths.Q) * lengths.across)
    return np.repeat(origins.astype(np.int32), lengths.K)


def tile_of(lengths, dtype, most):
    """The tile of at most ``most`` vectors that covers a window of the convolution in the fewest pieces."""
    lanes = Tile(1, 1, dtype).lanes
    while lanes > LANES[0] and lengths.length <= lanes // 2:
        lanes //= 2
    vectors = -(-lengths.length // lanes)
    shapes = [(even(lengths.R, rows, 1), even(vectors, most // rows, 1)) for rows in range(1, most + 1)]
    return min((Tile(*shape, dtype, lanes) for shape in shapes), key=lambda tile: pieces_of(lengths, tile))


def pieces_of(lengths, tile):
    """How many tiles cover a window of the convolution."""
    return -(-lengths.R // tile.rows) * -(-lengths.length // tile.columns)


def refuses(problem):
    """Why it cannot compute ``problem``."""
    against = []
    if problem.conv.groups != 1:
        against.append("it takes no groups")
    if problem.conv.dilation[1] != 1 and problem.conv.S > 1:
        against.append("the taps of a row are not side by side")
    if geometry(problem)[0].frame >= 1 << 31:
        against.append("places in the frame of an image need more than 32 bits")
    return tuple(against)


def fills_too_little(problem, images, besides, dense, vectors=None):
    """Why nothing would be saved.

    images: how many first caches the frame of an image may fill; besides: what a channel of a window costs beside its
    multiply-adds, in vectors; dense: what a multiply-add of the kernels that take all pixels costs; vectors: the cost of
    these multiply-adds where they are not one for each row of a window
    """
    lengths, _ = geometry(problem)
    lanes = Tile(1, 1, problem.dtype).lanes
    if lengths.frame * np.dtype(problem.dtype).itemsize > images * caches().level1:
        return ("an image is larger than the nearest cache",)
    own = vectors or lengths.R * -(-lengths.length // lanes)
    if own + besides >= dense * WINDOW**2 * lengths.R * lengths.length / lanes:
        return ("rows of a window fill so few lanes that nothing is saved",)
    return ()
