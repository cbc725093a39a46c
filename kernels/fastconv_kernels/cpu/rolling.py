"""A window that rolls down planes whose lanes are pixels of a row, as words: one vector's width from top to bottom (NCHW).

A row of the source is loaded once for every column of taps, when the window reaches it, and added at once to all rows of
targets that it meets.  Their sums, with 3 x 3 taps three of them, are all that is carried from row to row:

    sums = begin(roll, ...)                    # what the rows above the first target give
    for group in range(first, end):
        sums = slide(roll, sums, ...)          # the rows that come under the window
        store(finished(roll, sums))            # the targets that have met all theirs
        sums = following(roll, sums, start)    # the others move up, and new ones begin

A loop of few instructions: where whole tiles were written out, the compiler moved loads so far up that sums were put aside.

A *group* is the ``step`` rows of targets, one for each phase, that begin at the same row of the source (``Axis`` of
``geometry``), for each row as many vectors as there are phases of columns.  Rows that the source does not have are read from a
row of zeros.
"""

from itertools import product

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .dataless import dataless
from .emit import INT64, fused_multiply_add, load_masked, splat, store_masked
from .shifted import Columns, load_columns, mask_of, pick
from .simd import Pointer
from .tile import Sums, TileType

MOST_SUMS = 12
"""Vectors that are carried: more, of windows with long dilation, and every group reads all of its rows."""


class Roll:
    """The window of two ``Axis`` of ``geometry``.

    Attributes
    ----------
    masks : (tiles of a row, masks)
        Of ``shifted.Columns``.
    """

    def __init__(self, vertical, horizontal, tile):
        columns = Columns(horizontal, tile.lanes, tile.itemsize, loose=True)
        self.masks, tiles = columns.masks, len(columns.masks)
        advance, newest = vertical.advance, range(vertical.last - vertical.advance + 1, vertical.last + 1)
        waiting = (vertical.last - vertical.first) // advance
        if waiting * vertical.step * horizontal.step > MOST_SUMS:
            newest, waiting = range(vertical.first, vertical.last + 1), 0
        meetings = []
        for row in newest:
            met = [
                (later * vertical.step + phase, tap)
                for later in range(waiting + 1)
                for phase, taps in enumerate(vertical.taps)
                for tap, reach in taps
                if reach == row - later * advance
            ]
            lowest = (-(-vertical.target // vertical.step) - 1) * advance + row
            meetings += [(row, tuple(met), lowest >= vertical.source)] if met else []
        lines = [
            -(-pixels // (tiles * tile.lanes)) for pixels in (advance * horizontal.source, vertical.step * horizontal.target)
        ]
        self._numba_type_ = RollType(tuple(meetings), waiting, vertical.step, advance, columns, lines)


class RollType(types.Type):
    """The type of a ``Roll``; ``meetings``: (row that a group loads, (row of sums, row of taps) it meets, may it be too low).

    waiting: groups that have met some of their rows when a group is finished; read, written: vectors for each group of a tile
    """

    def __init__(self, meetings, waiting, step, advance, columns, lines):
        self.meetings, self.waiting, self.step, self.advance, self.columns = meetings, waiting, step, advance, columns
        self.across, self.phases, self.masks, (self.read, self.written) = columns.advance, columns.step, columns.count, lines
        super().__init__(f"Roll({meetings}, {waiting}, {step}, {advance}, {columns}, {lines})")

    def tile(self, groups, vector):
        """The shape of the sums of so many groups."""
        return TileType(groups * self.step, self.columns.step, vector)


dataless(RollType, "step", "advance", "read", "written", "across", "phases", "masks", value=Roll)


def _masks(roll):
    return types.UniTuple(types.intp, roll.columns.count)


def _existing(builder, row, top, bottom, place, zeros):
    """Emitter: ``place``, or ``zeros`` if ``row`` is not in range(top, bottom); None: it surely is on that side of it."""
    for beyond, than in (("<", top), (">=", bottom)):
        if than is not None:
            place = builder.select(builder.icmp_signed(beyond, INT64(row), than), zeros, place)
    return place


def _roll_on(builder, roll, sums, taps, image, masks, before=0):
    """Emitter: the rows that a group loads, added to ``sums``, by row and phase; before: groups from it to the image's.

    taps: rows x columns of them; image: (pointer to row 0 for its group, pitch, a row of zeros, first row that exists, first
    that does not)
    """
    source, pitch, zeros, top, bottom = image
    for reach, met, beyond in roll.meetings:
        row = reach - before * roll.advance
        place = builder.gep(source, [builder.mul(pitch, INT64(row))])
        place = _existing(builder, row, top if row < 0 else None, bottom if before or beyond else None, place, zeros)
        columns = load_columns(builder, roll.columns, taps[0].type, place, masks)
        met_by = product(met, enumerate(roll.columns.across))
        for (i, line), (j, phase) in met_by:
            factors = [(columns[reach], taps[line * roll.columns.taps + tap]) for tap, reach in phase]
            if len(factors) == 1:
                sums[i, j] = fused_multiply_add(builder, *factors[0], sums[i, j])
            elif factors:  # added as a whole: multiply-adds of all rows one upon another would wait for each other
                part = builder.fmul(*factors[0])
                for pair in factors[1:]:
                    part = fused_multiply_add(builder, *pair, part)
                sums[i, j] = builder.fadd(sums[i, j], part)
    return sums


def _paths(shape):
    return [(i, j) for i in range(shape.count) for j in range(shape.element.count)]


def _contents(builder, result, values):
    """Emitter: a tile's contents of the vectors values[i, j]."""
    contents = ir.Constant(result, ir.Undefined)
    for path in _paths(result):
        contents = builder.insert_value(contents, values[path], path)
    return contents


def _moved(builder, roll, sums, shape, start):
    """Emitter: the sums of ``shape`` after the first group has left them."""
    initial = splat(builder, start, shape.element.element.count)
    return {(i, j): sums.get((i + roll.step, j), initial) for i, j in _paths(shape)}


def _unpacked(builder, values):
    return [builder.extract_value(values, i) for i in range(values.type.count)]


def _taps(builder, taps):
    return [builder.extract_value(taps, [i, 0]) for i in range(taps.type.count)]


def _image(source):
    """The types of what ``_roll_on`` calls the image."""
    return source, types.intp, source, types.intp, types.intp


@intrinsic
def begin(_context, roll, taps, start, source, pitch, zeros, top, bottom, masks):
    """The sums before the first group finishes.

    taps: a tile with a row for each, all lanes alike; start: of all sums; source: pointer to the group's row 0 and this tile's
    column 0, rows a ``pitch`` apart; zeros: to the same column of a row of zeros; top, bottom: first row that exists, first
    that does not; masks: ``masks_at``
    """

    def generate(context, builder, signature, values):
        taps, start, *image, masks = values[1:]
        shape, factors = context.get_value_type(signature.return_type), _taps(builder, taps)
        bits = _unpacked(builder, masks)
        sums = _moved(builder, roll, {}, shape, start)
        for before in range(roll.waiting, 0, -1):
            sums = _moved(builder, roll, _roll_on(builder, roll, sums, factors, image, bits, before), shape, start)
        return _contents(builder, shape, sums)

    if not isinstance(roll, RollType) or not isinstance(taps, Sums):
        return None
    result = Sums(roll.tile(roll.waiting + 1, taps.tile.vector))
    return result(roll, taps, taps.tile.vector.element, *_image(source), _masks(roll)), generate


@intrinsic
def slide(_context, roll, sums, taps, source, pitch, zeros, top, bottom, masks):
    """``sums`` with the rows that come under the window for a group; operands as in ``begin``."""

    def generate(_context, builder, _signature, values):
        sums, taps, *image, masks = values[1:]
        factors = _taps(builder, taps)
        bits = _unpacked(builder, masks)
        before = {path: builder.extract_value(sums, path) for path in _paths(sums.type)}
        return _contents(builder, sums.type, _roll_on(builder, roll, before, factors, image, bits))

    if not isinstance(roll, RollType) or not isinstance(sums, Sums):
        return None
    return sums(roll, sums, taps, *_image(source), _masks(roll)), generate


@intrinsic
def finished(_context, roll, sums):
    """The sums of the first group, which have met all their rows; the targets of a row in order, phase by phase."""

    def generate(context, builder, signature, values):
        result = context.get_value_type(signature.return_type)
        phases, lanes = result.element.count, result.element.element.count
        lane_of, ordered = {target: lane for lane, target in enumerate(roll.columns.order)}, {}
        for i, j in _paths(result):
            row = [builder.extract_value(values[1], [i, phase]) for phase in range(phases)]
            wanted = [pixel % phases * lanes + lane_of[pixel // phases] for pixel in range(j * lanes, (j + 1) * lanes)]
            ordered[i, j] = row[0] if wanted == [*range(lanes)] else pick(builder, row, wanted)
        return _contents(builder, result, ordered)

    if not isinstance(roll, RollType) or not isinstance(sums, Sums):
        return None
    return Sums(roll.tile(1, sums.tile.vector))(roll, sums), generate


@intrinsic
def following(_context, roll, sums, start):
    """The sums that go on when the first group is finished, and ``start`` for those that begin."""

    def generate(_context, builder, _signature, values):
        _, sums, start = values
        before = {path: builder.extract_value(sums, path) for path in _paths(sums.type)}
        return _contents(builder, sums.type, _moved(builder, roll, before, sums.type, start))

    if not isinstance(roll, RollType) or not isinstance(sums, Sums):
        return None
    return sums(roll, sums, sums.tile.vector.element), generate


# ----------------------------------------------------------------------------------------------------- masks and targets


@intrinsic
def masks_at(_context, roll, table):
    """Masks of a tile, read once."""

    def generate(context, builder, signature, values):
        masks = [builder.load(builder.gep(values[1], [INT64(i)])) for i in range(roll.columns.count)]
        return context.make_tuple(builder, signature.return_type, masks)

    return (_masks(roll)(roll, table), generate) if isinstance(roll, RollType) and isinstance(table, Pointer) else None


def _each_place(builder, roll, stored, masks, place, pitch, rows):
    """Emitter: (row, vector, its address, its mask) of a group of targets, of which ``rows`` are left."""
    phases, lanes = stored.element.count, stored.element.element.count
    bits = _unpacked(builder, masks)[len(roll.columns.loads) :]
    for i in range(stored.count):
        exists = builder.icmp_signed("<", INT64(i), rows)
        for j in (j for j in range(phases) if roll.columns.stored[j]):
            mask = builder.select(exists, bits[j], INT64(0)) if i else bits[j]
            yield i, j, builder.gep(place, [INT64(j * lanes)]), mask_of(builder, mask, lanes)
        place = builder.gep(place, [pitch])


@intrinsic
def load_group(_context, roll, like, place, pitch, rows, masks):
    """The targets at ``place``, in the shape of ``like``."""

    def generate(_context, builder, _signature, values):
        _, like, place, pitch, rows, masks = values
        vector, there = like.type.element.element, _each_place(builder, roll, like.type, masks, place, pitch, rows)
        loaded = dict.fromkeys(_paths(like.type), ir.Constant(vector, None))
        loaded |= {(i, j): load_masked(builder, vector, at, mask) for i, j, at, mask in there}
        return _contents(builder, like.type, loaded)

    if not isinstance(roll, RollType) or not isinstance(like, Sums):
        return None
    return like(roll, like, place, types.intp, types.intp, _masks(roll)), generate


@intrinsic
def store_group(_context, roll, total, place, pitch, rows, masks):
    """A group of targets to ``place``, row i ``i * pitch`` after it; ``rows`` of the target are left."""

    def generate(context, builder, _signature, values):
        _, total, place, pitch, rows, masks = values
        for i, j, there, mask in _each_place(builder, roll, total.type, masks, place, pitch, rows):
            store_masked(builder, builder.extract_value(total, [i, j]), there, mask)
        return context.get_dummy_value()

    if not isinstance(roll, RollType) or not isinstance(total, Sums):
        return None
    return types.none(roll, total, place, types.intp, types.intp, _masks(roll)), generate
