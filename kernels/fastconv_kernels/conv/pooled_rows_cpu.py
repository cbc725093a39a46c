"""What the sparse gradient of a weight under pooling reads: the pixels that were maxima, and the windows that begin there.

A window of the convolution is R pieces of the rows of a frame.  Where pixels have few channels most vectors of such a piece
cross a cache line, and half as many are loaded in a time.  *Laid out*, each piece that begins a window's row stands by itself,
from a line on.  On a Granite Rapids LeNet-5's second layer took 180 µs so for 230.
"""

import numpy as np

from ..cpu.compile import jit
from ..cpu.places import block
from ..cpu.pooled import pixel_of, uncut
from ..cpu.simd import load_first, store_first
from ..cpu.tile import load_tile, store_tile
from ..cpu.tile_rows import one_row
from ..cpu.workspace import LINE_BYTES, caches
from ..problems.pooled import WINDOW

ROWS_SHARE = 0.6
"""Of the first cache, for what is laid out of an image."""


def laid_out(problem, lengths, tile):
    """(``lengths``, steps) with the windows' rows laid out; None: they lie well as they are, or there is no room."""
    conv, wide = problem.conv, -(-lengths.length // tile.columns) * tile.columns
    starts, narrow = WINDOW * problem.Q, tile.lanes * tile.itemsize < LINE_BYTES
    if narrow or conv.C * tile.itemsize % LINE_BYTES == 0:
        return None
    if lengths.height * starts * wide * tile.itemsize > ROWS_SHARE * caches().level1:
        return None
    pitch, down = starts * wide, conv.stride[0]
    steps = np.array([i * down * pitch + j * wide for i in range(WINDOW) for j in range(WINDOW)], np.intp)
    rows = lengths._replace(
        down=WINDOW * down * pitch,
        across=WINDOW * wide,
        line=conv.dilation[0] * pitch,
        starts=starts,
        hop=conv.stride[1] * conv.C,
        wide=wide,
    )
    return rows, steps


@jit
def find_pixels(tile, count, origins, steps, grad, places, values, pixels):
    """values = the gradients of an image that ReLU lets through, pixels = where theirs are: of all windows and channels."""
    for e in range(0, count, tile.lanes):
        found = load_first(places + e, count - e)
        store_first(values + e, uncut(load_first(grad + e, count - e), found), count - e)
        store_first(pixels + e, pixel_of(load_first(origins + e, count - e), found, steps), count - e)


@jit
def lay_out(tile, lengths, frame, rows):
    """rows[y, t, e] = frame[y, t * hop + e]; what is beyond a window's length is of no meaning."""
    line = one_row(tile)
    for y in range(lengths.height):
        source = frame + y * (lengths.width * lengths.channels)
        for t in range(lengths.starts):
            for e in range(0, lengths.wide, tile.columns):
                piece = load_tile(line, block(line, source + (t * lengths.hop + e), 0, 1, tile.columns))
                store_tile(piece, block(line, rows + e, 0, 1, tile.columns))
            rows = rows + lengths.wide
