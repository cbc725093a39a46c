"""A window on planes whose lanes are pixels of a row, as words: rows slide under it, columns are shifted loads (NCHW).

A ``Stencil`` is an argument that carries no data: its Numba *type* lists which rows of the source meet which taps in each row
of a tile of targets (a ``Window`` on its side), and how far to the right each column of taps reaches.  A row of the source is
loaded once for every column of taps and multiplied with all rows of taps that it meets: with 3 x 3 taps and 14 rows, 48 loads
serve 126 multiplications.

With a stride the lanes lie ``advance`` elements apart: so many vectors are loaded side by side and sorted by shuffles.  In the
transpose of a stride a tile has ``step`` vectors in each row, one for each phase, which are brought together in the end.

Pixels are read where they are, and what lies beyond the image is masked.  Which columns those are is the same for all planes
and known beforehand: ``masks`` has them for every tile of a row.  The code of a tile is one straight line.
"""

from itertools import product

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .dataless import dataless
from .emit import BIT, INT32, INT64, fused_multiply_add, load_masked, splat, store_masked
from .simd import Pointer, word
from .tile import Sums
from .window import Window, reaches


class Stencil:
    """The window of two ``Axis`` of ``geometry`` for tiles of ``rows`` rows, of which the first is of phase 0.

    Attributes
    ----------
    masks : (tiles of a row, vectors loaded, stored, and of columns by their reach)
        Bit i says whether lane i is of a column that exists.
    source_rows, loads : int
        Under a tile, and of vectors for each of them.
    """

    def __init__(self, vertical, horizontal, rows, lanes):
        down = Window(vertical, rows)
        across = tuple(tuple(phase) for phase in horizontal.taps)
        advance = horizontal.advance
        starts = tuple(sorted({start_of(reach, advance) for reach in reaches_of(horizontal)}))
        self.masks = masks_of(horizontal, starts, lanes)
        used = tuple(map(bool, self.masks[:, : len(starts) * advance].any(axis=0)))
        stored, columns = self.masks[:, len(used)], self.masks[:, len(used) + horizontal.step :]
        whole = tuple(map(bool, (columns == stored[:, None]).all(axis=0)))
        self._numba_type_ = StencilType(down._numba_type_, across, horizontal.step, advance, starts, used, whole)
        self.source_rows, self.loads = down.last - down.first + 1, sum(used)


def reaches_of(horizontal):
    """All of an ``Axis``, from left to right."""
    return sorted({reach for phase in horizontal.taps for _, reach in phase})


def start_of(reach, advance):
    """Where the vectors begin among which are the columns ``reach``, ``reach + advance``, …"""
    return reach // advance * advance


def masks_of(horizontal, starts, lanes):
    """The ``masks`` of a ``Stencil`` whose loads begin at the columns ``starts``.

    Nothing is loaded for targets that do not exist: what is in memory there must not meet a gradient that is zero.
    """
    step, advance, tiles = horizontal.step, horizontal.advance, []
    loaded, stored = np.arange(advance * lanes), np.arange(step * lanes)
    for q in range(0, horizontal.target, step * lanes):
        column, left = q // step * advance, horizontal.target - q
        wanted = loaded < -(-left // step) * advance
        places = [column + start + loaded for start in starts]
        bits = [wanted & (place >= 0) & (place < horizontal.source) for place in places]
        columns = [
            bits[starts.index(start_of(reach, advance))][reach % advance :: advance] for reach in reaches_of(horizontal)
        ]
        tiles.append(np.concatenate([*bits, stored < left, *columns]).reshape(-1, lanes) @ (1 << np.arange(lanes)))
    return np.array(tiles, np.intp)


class StencilType(types.Type):
    """The type of a ``Stencil``; ``down``: of the window on its side; ``across``: for each phase its (tap, reach).

    Loads begin at the columns ``starts``, ``advance`` vectors at each; of all these some are ``used``: with few columns in a
    row not all exist.  whole: for each reach whether every target meets a column.
    """

    def __init__(self, down, across, step, advance, starts, used, whole):
        self.down, self.across, self.step, self.advance, self.starts, self.used = down, across, step, advance, starts, used
        self.rows, self.down_step, self.down_advance = down.pixels, down.step, down.advance
        self.columns = 1 + max(tap for phase in across for tap, _ in phase)  # of taps
        self.reaches = sorted({reach for phase in across for _, reach in phase})
        self.loads, self.masks = len(used), len(used) + step + len(self.reaches)
        self.whole = dict(zip(self.reaches, whole, strict=True))
        super().__init__(f"Stencil({down}, {across}, {step}, {advance}, {used}, {whole})")


dataless(StencilType, "rows", "step", "advance", "down_step", "down_advance", "loads", "masks", value=Stencil)


def pick(builder, vectors, wanted):
    """Emitter: the elements ``wanted`` of ``vectors``, as if these were one."""
    lanes = vectors[0].type.count
    undefined = ir.Constant(vectors[0].type, ir.Undefined)

    def shuffled(first, second, order):
        return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(INT32, lanes), order))

    chosen = undefined
    for j in range(0, len(vectors), 2):
        first, second = [*vectors, undefined][j : j + 2]
        own = [index // lanes in (j, j + 1) for index in wanted]
        part = shuffled(first, second, [index - j * lanes if here else 0 for here, index in zip(own, wanted, strict=True)])
        merged = [lanes + lane if here else lane for lane, here in enumerate(own)]
        chosen = shuffled(chosen, part, merged) if j else part
    return chosen


def mask_at(builder, table, index, lanes):
    """Emitter: entry ``index`` of a table of masks."""
    bits = builder.trunc(builder.load(builder.gep(table, [INT64(index)])), ir.IntType(lanes))
    return builder.bitcast(bits, ir.VectorType(BIT, lanes))


def load_columns(builder, stencil, vector, place, masks):
    """Emitter: for every reach the columns ``reach``, ``reach + advance``, … of the row at ``place``."""
    nothing, following, chosen = ir.Constant(vector, None), iter(zip(masks, stencil.used, strict=True)), {}
    for start in stencil.starts:
        loaded = []
        for j in range(stencil.advance):
            (mask, used), side = next(following), builder.gep(place, [INT64(start + j * vector.count)])
            loaded.append(load_masked(builder, vector, side, mask) if used else nothing)
        for reach in stencil.reaches:
            if 0 <= reach - start < stencil.advance:
                wanted = range(reach - start, stencil.advance * vector.count, stencil.advance)
                chosen[reach] = pick(builder, loaded, wanted)
    return chosen


def each_row(builder, stencil, vector, source, pitch, table, edge):
    """Emitter: (columns by reach, masks of those not all there, [(row of the tile, row of taps), …]) for rows, downwards."""
    top, bottom = (builder.extract_value(edge, i) for i in range(2))
    masks = [mask_at(builder, table, i, vector.count) for i in range(stencil.masks)]
    own = dict(zip(stencil.reaches, masks[stencil.loads + stencil.step :], strict=True))
    partial = {reach: mask for reach, mask in own.items() if not stencil.whole[reach]}
    for row, place, met in stencil.down.by_column(builder, source, pitch):
        exists, here, existing = reaches(builder, stencil.down, row, top, bottom), masks[: stencil.loads], partial
        if exists is not None:
            every = splat(builder, exists, vector.count)
            here = [builder.and_(mask, every) for mask in here]
            existing = {reach: builder.and_(mask, every) for reach, mask in own.items()}
        yield load_columns(builder, stencil, vector, place, here), existing, met


EDGE = types.UniTuple(types.intp, 2)
"""(first row of the source that exists, first that does not)."""


@intrinsic
def sweep(_context, tile, stencil, bias, source, pitch, weights, masks, edge):
    """bias[0] + the sum over taps of source[row * pitch + column] * weights[tap] for a tile of targets.

    A row of the tile has a vector for each phase.  source: pointer to row 0 and column 0; weights: pointer to the taps, row by
    row; masks: this tile's; edge: ``EDGE``
    """

    def generate(context, builder, signature, values):
        bias, source, pitch, weights, masks, edge = values[2:]
        contents = context.get_value_type(signature.return_type)
        vector = contents.element.element
        taps = [builder.gep(weights, [INT64(tap)]) for tap in range(stencil.down.taps * stencil.columns)]
        factors = [splat(builder, builder.load(tap), vector.count) for tap in taps]
        paths = product(range(stencil.rows), range(stencil.step))
        total = dict.fromkeys(paths, splat(builder, builder.load(bias), vector.count))
        for columns, _, met in each_row(builder, stencil, vector, source, pitch, masks, edge):
            for (j, phase), (i, line) in product(enumerate(stencil.across), met):
                for tap, reach in phase:
                    factor = factors[line * stencil.columns + tap]
                    total[i, j] = fused_multiply_add(builder, columns[reach], factor, total[i, j])
        return _contents(builder, contents, total)

    if not isinstance(stencil, StencilType):
        return None
    table = Pointer(types.int64, tile.lanes)
    return Sums(tile)(tile, stencil, bias, source, types.intp, weights, table, EDGE), generate


def _contents(builder, result, total):
    """Emitter: a tile's contents of the vectors total[i, j]."""
    contents = ir.Constant(result, ir.Undefined)
    for path, value in total.items():
        contents = builder.insert_value(contents, value, path)
    return contents


@intrinsic
def sweep_gradient(_context, stencil, total, source, pitch, gradient, gradient_pitch, masks, edge):
    """total[tap] + the sum over a tile's rows of source[row * pitch + column] * gradient[row * gradient_pitch].

    Lane by lane; operands as in ``sweep``.
    """

    def generate(_context, builder, _signature, values):
        total, source, pitch, gradient, gradient_pitch, masks, edge = values[1:]
        vector = total.type.element.element
        existing = mask_at(builder, masks, stencil.loads, vector.count)
        given = []
        for _ in range(stencil.rows):
            given.append(load_masked(builder, vector, gradient, existing))
            gradient = builder.gep(gradient, [gradient_pitch])
        sums = {(tap, 0): builder.extract_value(total, [tap, 0]) for tap in range(total.type.count)}
        for columns, existing, met in each_row(builder, stencil, vector, source, pitch, masks, edge):
            for (tap, reach), (i, line) in product(stencil.across[0], met):
                path = line * stencil.columns + tap, 0
                added = fused_multiply_add(builder, columns[reach], given[i], sums[path])
                if reach in existing:  # the gradient may be NaN where there is no column
                    added = builder.select(existing[reach], added, sums[path])
                sums[path] = added
        return _contents(builder, total.type, sums)

    if not isinstance(stencil, StencilType) or not isinstance(total, Sums):
        return None
    table = Pointer(types.int64, total.tile.lanes)
    return total(stencil, total, source, types.intp, gradient, types.intp, table, EDGE), generate


@word(lambda total: total if isinstance(total, Sums) else None)
def interleave(builder, result, total):
    """The vectors of a row, one for each phase, brought together: first lanes first, phase by phase."""
    phases, lanes = result.element.count, result.element.element.count
    mixed = ir.Constant(result, ir.Undefined)
    for i, j in product(range(result.count), range(phases)):
        row = [builder.extract_value(total, [i, phase]) for phase in range(phases)]
        wanted = [pixel % phases * lanes + pixel // phases for pixel in range(j * lanes, (j + 1) * lanes)]
        mixed = builder.insert_value(mixed, pick(builder, row, wanted), [i, j])
    return mixed


def each_place(builder, stored, table, place, pitch):
    """Emitter: (row, vector, its address, its mask) of a tile in a plane; the masks come after those of vectors loaded."""
    phases, lanes = stored.element.count, stored.element.element.count
    masks = [mask_at(builder, table, j, lanes) for j in range(phases)]
    for i in range(stored.count):
        for j in range(phases):
            yield i, j, builder.gep(place, [INT64(j * lanes)]), masks[j]
        place = builder.gep(place, [pitch])


@word(lambda tile, place, pitch, masks: Sums(tile))
def load_rows(builder, result, tile, place, pitch, masks):
    """The tile whose row i is ``i * pitch`` after ``place``; masks: pointer to those of a row's vectors."""
    loaded = ir.Constant(result, ir.Undefined)
    for i, j, there, mask in each_place(builder, result, masks, place, pitch):
        loaded = builder.insert_value(loaded, load_masked(builder, result.element.element, there, mask), [i, j])
    return loaded


@word(lambda total, place, pitch, masks: types.none if isinstance(total, Sums) else None)
def store_rows(builder, result, total, place, pitch, masks):
    """The tile to memory, row i ``i * pitch`` after ``place``."""
    for i, j, there, mask in each_place(builder, total.type, masks, place, pitch):
        store_masked(builder, builder.extract_value(total, [i, j]), there, mask)
