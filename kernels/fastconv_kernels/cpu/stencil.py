"""A window on planes whose lanes are pixels of a row, in tiles of some rows of gradients, as a word (NCHW).

A ``Stencil`` is an argument that carries no data: its Numba *type* lists which rows of the source meet which taps in each row
of a tile of gradients (a ``Window`` on its side), and the ``Columns`` across.  A row of the source is loaded once for every
column of taps and multiplied with all rows of gradients that it meets.  The code of a tile is one straight line.
"""

from itertools import product

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .dataless import dataless
from .emit import INT64, fused_multiply_add, load_masked, splat
from .shifted import Columns, load_columns, mask_of
from .simd import Pointer
from .tile import Sums
from .window import Window, reaches


class Stencil:
    """The window of two ``Axis`` of ``geometry`` for tiles of ``rows`` rows of gradients and the vectors of ``tile``.

    Attributes
    ----------
    masks : (tiles of a row, masks)
        Of ``shifted.Columns``.
    """

    def __init__(self, vertical, horizontal, rows, tile):
        down, columns = Window(vertical, rows), Columns(horizontal, tile.lanes, tile.itemsize)
        self.masks = columns.masks
        self._numba_type_ = StencilType(down._numba_type_, columns)


class StencilType(types.Type):
    """The type of a ``Stencil``; ``down``: of the window on its side."""

    def __init__(self, down, columns):
        self.down, self.columns = down, columns
        self.rows, self.advance, self.down_advance = down.pixels, columns.advance, down.advance
        self.masks = columns.count
        super().__init__(f"Stencil({down}, {columns})")


dataless(StencilType, "rows", "advance", "down_advance", "masks", value=Stencil)


def each_row(builder, stencil, vector, source, pitch, bits, edge):
    """Emitter: (columns by reach, masks of those not all there, [(row of the tile, row of taps), …]) for rows, downwards."""
    top, bottom = (builder.extract_value(edge, i) for i in range(2))
    columns, lanes = stencil.columns, vector.count
    loads = len(columns.loads)
    own = {
        reach: mask_of(builder, mask, lanes) for reach, mask in zip(columns.reaches, bits[loads + columns.step :], strict=True)
    }
    partial = {reach: mask for reach, mask in own.items() if not columns.whole[reach]}
    for row, place, met in stencil.down.by_column(builder, source, pitch):
        exists, here, existing = reaches(builder, stencil.down, row, top, bottom), bits[:loads], partial
        if exists is not None:
            here = [builder.select(exists, mask, INT64(0)) for mask in here]
            every = splat(builder, exists, lanes)
            existing = {reach: builder.and_(mask, every) for reach, mask in own.items()}
        yield load_columns(builder, columns, vector, place, here), existing, met


EDGE = types.UniTuple(types.intp, 2)
"""(first row of the source that exists, first that does not)."""


@intrinsic
def sweep_gradient(_context, stencil, total, source, pitch, gradient, gradient_pitch, masks, edge):
    """total[tap] + the sum over a tile's rows of source[row * pitch + column] * gradient[row * gradient_pitch], lane by lane.

    source: pointer to row 0 and column 0; masks: this tile's; edge: ``EDGE``
    """

    def generate(_context, builder, _signature, values):
        total, source, pitch, gradient, gradient_pitch, masks, edge = values[1:]
        vector, columns = total.type.element.element, stencil.columns
        bits = [builder.load(builder.gep(masks, [INT64(i)])) for i in range(columns.count)]
        existing = mask_of(builder, bits[len(columns.loads)], vector.count)
        given = []
        for _ in range(stencil.rows):
            given.append(load_masked(builder, vector, gradient, existing))
            gradient = builder.gep(gradient, [gradient_pitch])
        sums = [builder.extract_value(total, [tap, 0]) for tap in range(total.type.count)]
        for met_columns, existing, met in each_row(builder, stencil, vector, source, pitch, bits, edge):
            for (tap, reach), (i, line) in product(columns.across[0], met):
                place = line * columns.taps + tap
                added = fused_multiply_add(builder, met_columns[reach], given[i], sums[place])
                if reach in existing:  # the gradient may be NaN where there is no column
                    added = builder.select(existing[reach], added, sums[place])
                sums[place] = added
        contents = ir.Constant(total.type, ir.Undefined)
        for tap, value in enumerate(sums):
            contents = builder.insert_value(contents, value, [tap, 0])
        return contents

    if not isinstance(stencil, StencilType) or not isinstance(total, Sums):
        return None
    table = Pointer(types.int64, total.tile.lanes)
    return total(stencil, total, source, types.intp, gradient, types.intp, table, EDGE), generate
