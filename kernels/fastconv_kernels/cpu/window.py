"""A window that slides along a row of pixels, as words: which pixels meet which taps is settled when the code is compiled.

A ``Window`` is an argument that carries no data: its Numba *type* lists for every pixel of a tile the (column, tap) that it
sums.  A vector holds channels of one pixel, so that no lane meets another.  Each column is loaded once and multiplied wherever
it is needed: with 3 taps and 8 pixels, 10 loads serve 24 multiplications.
"""

from numba import types
from numba.extending import intrinsic

from .dataless import dataless
from .emit import INT64, first_lanes, fused_multiply_add, load_masked, load_vector
from .tile import Sums


class Window:
    """The window of an ``Axis`` of ``geometry`` for tiles of ``pixels`` target pixels, of which step is a divisor."""

    def __init__(self, axis, pixels):
        meetings = []
        for i in range(pixels):
            first = i // axis.step * axis.advance
            meetings.append(tuple((first + reach, tap) for tap, reach in axis.taps[i % axis.step]))
        columns = [column for pixel in meetings for column, _ in pixel]
        self.first, self.last = min(columns, default=0), max(columns, default=0)
        self._numba_type_ = WindowType(tuple(meetings))


class WindowType(types.Type):
    """The type of a ``Window``: for each pixel of a tile its (column, tap)."""

    def __init__(self, meetings):
        self.meetings, self.pixels = meetings, len(meetings)
        self.taps = 1 + max((tap for pixel in meetings for _, tap in pixel), default=-1)
        super().__init__(f"Window({meetings})")

    @property
    def by_column(self):
        """(column, [(pixel, tap), …]), from left to right."""
        found = {}
        for pixel, met in enumerate(self.meetings):
            for column, tap in met:
                found.setdefault(column, []).append((pixel, tap))
        return sorted(found.items())


dataless(WindowType, "taps", "pixels", value=Window)


def row_of(builder, vector, place, vectors):
    """Emitter: the vectors of a tile's columns at ``place``."""
    return [load_vector(builder, vector, builder.gep(place, [INT64(j * vector.count)])) for j in range(vectors)]


@intrinsic
def slide(_context, window, total, source, step, weights):
    """total[pixel] + the sum over taps of source[column * step] * weights[tap], lane by lane.

    source: pointer to column 0; weights: pointer to the tile's columns for one tap after another
    """

    def generate(_context, builder, _signature, values):
        _, total, source, step, weights = values
        vectors, vector = total.type.element.count, total.type.element.element
        size = vectors * vector.count
        taps = [row_of(builder, vector, builder.gep(weights, [INT64(tap * size)]), vectors) for tap in range(window.taps)]
        for column, met in window.by_column:
            pixels = row_of(builder, vector, builder.gep(source, [builder.mul(step, INT64(column))]), vectors)
            for i, tap in met:
                for j in range(vectors):
                    added = fused_multiply_add(builder, pixels[j], taps[tap][j], builder.extract_value(total, [i, j]))
                    total = builder.insert_value(total, added, [i, j])
        return total

    if not isinstance(window, WindowType) or not isinstance(total, Sums):
        return None
    return total(window, total, source, types.intp, weights), generate


@intrinsic
def slide_gradient(_context, window, total, source, step, gradient, pitch, count):
    """total[tap] + the sum over pixels of source[column * step] * gradient[pixel * pitch], lane by lane.

    The sums have a row for each tap, several times over: pixel after pixel takes the next set, so that enough sums are under
    way at a time.  count: channels that ``gradient`` has, its other lanes are zero.
    """

    def generate(_context, builder, _signature, values):
        _, total, source, step, gradient, pitch, count = values
        vectors, vector = total.type.element.count, total.type.element.element
        sets = total.type.count // window.taps
        lanes = [first_lanes(builder, builder.sub(count, INT64(j * vector.count)), vector.count) for j in range(vectors)]
        given = []
        for pixel in range(len(window.meetings)):
            place = builder.gep(gradient, [builder.mul(pitch, INT64(pixel))])
            places = [builder.gep(place, [INT64(j * vector.count)]) for j in range(vectors)]
            given.append([load_masked(builder, vector, place, mask) for place, mask in zip(places, lanes, strict=True)])
        for column, met in window.by_column:
            pixels = row_of(builder, vector, builder.gep(source, [builder.mul(step, INT64(column))]), vectors)
            for i, tap in met:
                row = i % sets * window.taps + tap
                for j in range(vectors):
                    added = fused_multiply_add(builder, pixels[j], given[i][j], builder.extract_value(total, [row, j]))
                    total = builder.insert_value(total, added, [row, j])
        return total

    if not isinstance(window, WindowType) or not isinstance(total, Sums):
        return None
    return total(window, total, source, types.intp, gradient, types.intp, types.intp), generate
