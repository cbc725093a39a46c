"""A window that slides along a row of pixels, as words: which pixels meet which taps is settled when the code is compiled.

A ``Window`` is an argument that carries no data: its Numba *type* lists for every pixel of a tile the (column, tap) that it
sums.  A vector holds channels of one pixel, so that no lane meets another.  Each column is loaded once and multiplied wherever
it is needed: with 3 taps and 8 pixels, 10 loads serve 24 multiplications.

Pixels are read where they are.  Where a window reaches beyond the image nothing is read: ``edge`` is (first column that
exists, first that does not).  Tiles that lie in their row of targets as a whole can miss but a few columns, those before the
tile's own and the last ``behind``, and only these are compared with it.  The words ``…_at_edge`` take any column and, last
in ``edge``, the number of channels that exist.
"""

from numba import types
from numba.extending import intrinsic

from .dataless import dataless
from .emit import INT64, first_lanes, fused_multiply_add, load_masked, load_vector, prefetch_line
from .tile import Sums


class Window:
    """The window of an ``Axis`` of ``geometry`` for tiles of ``pixels`` target pixels, of which step is a divisor."""

    def __init__(self, axis, pixels):
        meetings = []
        for i in range(pixels):
            first = i // axis.step * axis.advance
            meetings.append(tuple((first + reach, tap) for tap, reach in axis.taps[i % axis.step]))
        self._numba_type_ = WindowType(tuple(meetings), axis.step, axis.advance, axis.target, axis.source)
        self.pixels, self.first, self.last = pixels, self._numba_type_.first, self._numba_type_.last


class WindowType(types.Type):
    """The type of a ``Window``: for each pixel of a tile its (column, tap); columns from ``first`` to ``last`` are read.

    Target pixel q is in a tile whose column 0 is ``q // step * advance`` of ``source`` columns.
    """

    def __init__(self, meetings, step, advance, target, source):
        self.meetings, self.pixels, self.step, self.advance = meetings, len(meetings), step, advance
        self.taps = 1 + max((tap for pixel in meetings for _, tap in pixel), default=-1)
        columns = [column for pixel in meetings for column, _ in pixel]
        self.first, self.last = min(columns, default=0), max(columns, default=0)
        self.behind = max(0, (target - self.pixels) // step * advance + self.last + 1 - source)
        super().__init__(f"Window({meetings}, {step}, {advance}, {self.behind})")

    def by_column(self, builder, source, pitch):
        """(column, its address, [(pixel, tap), …]), from left to right.

        Each address is computed from the one before: so many multiples of the pitch have no registers to live in.
        """
        met = {}
        for pixel, meetings in enumerate(self.meetings):
            for column, tap in meetings:
                met.setdefault(column, []).append((pixel, tap))
        place = builder.gep(source, [builder.mul(pitch, INT64(self.first))])
        for column in range(self.first, self.last + 1):
            if column in met:
                yield column, place, met[column]
            place = builder.gep(place, [pitch])


dataless(WindowType, "taps", "pixels", "first", "last", "step", "advance", value=Window)


def row_of(builder, vector, place, vectors, count=None):
    """Emitter: the vectors of a tile's columns at ``place``; with ``count``, so many channels, zero in the other lanes."""
    places = [builder.gep(place, [INT64(j * vector.count)]) for j in range(vectors)]
    if count is None:
        return [load_vector(builder, vector, place) for place in places]
    masks = [first_lanes(builder, builder.sub(count, INT64(j * vector.count)), vector.count) for j in range(vectors)]
    return [load_masked(builder, vector, place, mask) for place, mask in zip(places, masks, strict=True)]


def where(builder, exists, sums, add):
    """Emitter: ``add(sums)``, a list of as many, if ``exists``, else ``sums``.  None: it does.

    A branch, which is foreseen: selecting an address or a mask for every column costs as much as the multiplications.
    """
    if exists is None:
        return add(sums)
    before = builder.block
    with builder.if_then(exists):
        added = add(sums)
        inside = builder.block
    merged = []
    for total, other in zip(sums, added, strict=True):
        phi = builder.phi(total.type)
        phi.add_incoming(total, before)
        phi.add_incoming(other, inside)
        merged.append(phi)
    return merged


def reaches(builder, window, column, first, end):
    """Emitter: whether a tile that lies in its row of targets as a whole has ``column``.  None: it always has."""
    if column < 0:
        from_first = builder.icmp_signed("<=", first, INT64(column))
        return from_first if column <= window.last - window.behind else within(builder, first, column, end)
    return builder.icmp_signed("<", INT64(column), end) if column > window.last - window.behind else None


def within(builder, first, number, end):
    """Emitter: whether ``number`` is in range(first, end)."""
    low, high = builder.icmp_signed("<=", first, INT64(number)), builder.icmp_signed("<", INT64(number), end)
    return builder.and_(low, high)


def _slide(window, builder, total, source, pitch, weights, edge):
    vectors, vector = total.type.element.count, total.type.element.element
    size = vectors * vector.count
    taps = [row_of(builder, vector, builder.gep(weights, [INT64(tap * size)]), vectors) for tap in range(window.taps)]
    first, end, *count = (builder.extract_value(edge, i) for i in range(edge.type.count))
    for column, place, met in window.by_column(builder, source, pitch):

        def add(sums, place=place, met=met):
            pixels = row_of(builder, vector, place, vectors, *count)
            factors = [(pixels[j], taps[tap][j]) for _, tap in met for j in range(vectors)]
            return [fused_multiply_add(builder, *pair, total) for pair, total in zip(factors, sums, strict=True)]

        exists = within(builder, first, column, end) if count else reaches(builder, window, column, first, end)
        paths = [[i, j] for i, _ in met for j in range(vectors)]
        sums = where(builder, exists, [builder.extract_value(total, path) for path in paths], add)
        for path, value in zip(paths, sums, strict=True):
            total = builder.insert_value(total, value, path)
    return total


def _applies(window, total):
    return isinstance(window, WindowType) and isinstance(total, Sums)


def _sliding(window, total, source, weights, edge):
    """The signature and the emitter of ``slide`` with an ``edge`` of so many numbers."""

    def generate(_context, builder, _signature, values):
        return _slide(window, builder, *values[1:])

    known = total(window, total, source, types.intp, weights, types.UniTuple(types.intp, edge))
    return (known, generate) if _applies(window, total) else None


@intrinsic
def slide(_context, window, total, source, pitch, weights, edge):
    """total[pixel] + the sum over taps of source[column * pitch] * weights[tap], lane by lane, for a whole tile.

    source: pointer to column 0; weights: pointer to the tile's columns for one tap after another
    """
    return _sliding(window, total, source, weights, 2)


@intrinsic
def slide_at_edge(_context, window, total, source, pitch, weights, edge):
    """``slide`` where any column, or channels, do not exist."""
    return _sliding(window, total, source, weights, 3)


@intrinsic
def fetch(_context, tile, window, source, pitch):
    """Bring the pixels that a tile reads nearer."""

    def generate(_context, builder, _signature, values):
        for _, place, _ in window.by_column(builder, *values[2:]):
            for j in range(tile.vectors):
                prefetch_line(builder, builder.gep(place, [INT64(j * tile.lanes)]))

    if not isinstance(window, WindowType):
        return None
    return types.none(tile, window, source, types.intp), generate


def _slide_gradient(window, tile, builder, total, source, line, pitch, gradient, edge):
    vectors, vector = total.type.element.count, total.type.element.element
    taps, rows = window.taps, tile.rows // window.taps
    first, end, first_row, end_row, *count = (builder.extract_value(edge, i) for i in range(edge.type.count))
    places = [builder.gep(gradient, [builder.mul(pitch, INT64(pixel))]) for pixel in range(window.pixels)]
    given = [row_of(builder, vector, place, vectors, *count) for place in places]

    def sums_of(row, met):
        found = [(i * tile.rows % total.type.count + row * taps + tap) for i, tap in met]
        return [(path, j) for path in found for j in range(vectors)]

    for row in range(rows):
        paths = sorted(set(sums_of(row, [(i, tap) for i in range(window.pixels) for tap in range(taps)])))

        def add_row(sums, row=row, paths=paths):
            sums = dict(zip(paths, sums, strict=True))
            begin = builder.gep(source, [builder.mul(line, INT64(row))])
            for column, place, met in window.by_column(builder, begin, pitch):

                def add(sums, place=place, met=met):
                    pixel = row_of(builder, vector, place, vectors, *count)
                    factors = [(pixel[j], given[i][j]) for i, _ in met for j in range(vectors)]
                    return [fused_multiply_add(builder, *pair, total) for pair, total in zip(factors, sums, strict=True)]

                reached = sums_of(row, met)
                here = within(builder, first, column, end) if count else reaches(builder, window, column, first, end)
                sums |= zip(reached, where(builder, here, [sums[path] for path in reached], add), strict=True)
            return [sums[path] for path in paths]

        here = within(builder, first_row, row, end_row)
        sums = where(builder, here, [builder.extract_value(total, path) for path in paths], add_row)
        for path, value in zip(paths, sums, strict=True):
            total = builder.insert_value(total, value, path)
    return total


def _sliding_gradient(window, tile, total, source, gradient, edge):
    """The signature and the emitter of ``slide_gradient`` with an ``edge`` of so many numbers."""

    def generate(_context, builder, _signature, values):
        return _slide_gradient(window, tile, builder, *values[2:])

    known = total(window, tile, total, source, types.intp, types.intp, gradient, types.UniTuple(types.intp, edge))
    return (known, generate) if _applies(window, total) else None


@intrinsic
def slide_gradient(_context, window, tile, total, source, line, pitch, gradient, edge):
    """total[row, tap] + the sum over pixels of source[row * line + column * pitch] * gradient[pixel * pitch], lane by lane.

    ``tile`` has a sum for each tap of some rows of taps, ``total`` the same several times over: pixel after pixel takes the
    next set, so that enough sums are under way at a time.  ``edge`` goes on with the first row that exists and the first that
    does not.
    """
    return _sliding_gradient(window, tile, total, source, gradient, 4)


@intrinsic
def slide_gradient_at_edge(_context, window, tile, total, source, line, pitch, gradient, edge):
    """``slide_gradient`` where any column, or channels, do not exist; the number of channels is last in ``edge``."""
    return _sliding_gradient(window, tile, total, source, gradient, 5)
