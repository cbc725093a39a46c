"""The columns that a window on planes meets: shifted vectors of a row's pixels, sorted where there is a stride (NCHW).

Target i of a vector meets column ``advance * i + reach`` for every ``reach`` of the window (``Axis`` of ``geometry``).
Without a stride that is a load for each reach.  With one the columns lie ``advance`` elements apart: so many vectors are
loaded side by side and sorted by shuffles.

Pixels are read where they are, and what lies beyond the image is masked.  Which columns those are is the same for all planes
and known beforehand: ``masks`` has them for every tile of a row.

*Loose* columns cost less.  Their lanes are in the order in which one shuffle within quarters of a register leaves them, which
takes a third of the time of one across it, so that sums must be put in order in the end; a reach of one target further borrows
the vector of its neighbour and loads but the pixel at the end; and targets that do not exist may meet pixels.
"""

import numpy as np
from llvmlite import ir

from .emit import BIT, INT32, INT64, load_masked

QUARTER = 16
"""Bytes of a register within which shuffles are cheap."""


class Columns:
    """The columns of an ``Axis``, from left to right, for tiles of ``lanes`` targets of each phase.

    Attributes
    ----------
    masks : (tiles of a row, loads, vectors stored, and unless loose of columns by their reach)
        Bit i says whether lane i is of a column that exists.
    across : for each phase its (tap, reach)
    loads : (start, elements after it, lanes) of each; ``used`` says which are: with few columns in a row not all exist
    stored : which of the vectors of a row of targets are; with few targets in a row not all exist
    starts : where the loads of whole vectors begin, ``advance`` side by side at each
    borrowed : by reach, how many targets further its neighbour is that is loaded: 1 or -1
    order : the target of each lane
    whole : unless loose, for each reach whether every target meets a column
    """

    def __init__(self, horizontal, lanes, itemsize, loose=False):
        self.across, self.step, self.advance = tuple(map(tuple, horizontal.taps)), horizontal.step, horizontal.advance
        self.lanes, self.reaches = lanes, sorted({reach for phase in self.across for _, reach in phase})
        self.taps = 1 + max(tap for phase in self.across for tap, _ in phase)
        self.main = min(map(self.start_of, self.reaches), key=abs)
        further = {reach: (self.start_of(reach) - self.main) // self.advance for reach in self.reaches}
        sorts = loose and self.advance > 1
        self.borrowed = {reach: far for reach, far in further.items() if sorts and abs(far) == 1}
        self.starts = tuple(
            sorted({self.main} | {self.start_of(reach) for reach in self.reaches if reach not in self.borrowed})
        )
        self.loads = [(start, j * lanes, lanes) for start in self.starts for j in range(self.advance)]
        self.loads += [(reach, (far > 0) * (lanes - 1) * self.advance, 1) for reach, far in self.borrowed.items()]
        self.order = _sorted_in_quarters(lanes, QUARTER // itemsize) if sorts and self.advance == 2 else [*range(lanes)]
        self.masks = np.array([self._masks_at(horizontal, q, loose) for q in range(0, horizontal.target, self.step * lanes)])
        stored = len(self.loads)
        used = tuple(map(bool, self.masks[:, : stored + self.step].any(axis=0)))
        self.used, self.stored, self.count = used[:stored], used[stored:], self.masks.shape[1]
        whole = (self.masks[:, stored + self.step :] == self.masks[:, stored, None]).all(axis=0)
        self.whole = {} if loose else dict(zip(self.reaches, map(bool, whole), strict=True))

    def __repr__(self):
        return f"Columns({self.across}, {self.advance}, {self.loads}, {self.used}, {self.stored}, {self.order}, {self.whole})"

    def start_of(self, reach):
        """Where the vectors begin among which are the columns ``reach``, ``reach + advance``, …"""
        return reach // self.advance * self.advance

    def _masks_at(self, horizontal, q, loose):
        """Of the tile whose first target is ``q``; unless loose, nothing is loaded for targets that do not exist."""
        step, advance, lanes = self.step, self.advance, self.lanes
        column, left = q // step * advance, horizontal.target - q

        def exists(start, after):
            there = column + start + after
            return (there >= 0) & (there < horizontal.source) & (loose | (after < -(-left // step) * advance))

        loaded = np.arange(lanes)
        masks = [exists(start, after + loaded) & (loaded < count) for start, after, count in self.loads]
        masks += np.split(np.arange(step * lanes) < left, step)
        if not loose:
            masks += [exists(reach, advance * loaded) for reach in self.reaches]
        return np.array(masks) @ (1 << np.arange(lanes))


def _sorted_in_quarters(lanes, quarter):
    """The order in which the even ones of two vectors come when quarters are filled from quarters."""
    order = []
    for first in range(0, lanes, quarter):
        pairs = [(first + i) // 2 for i in range(0, quarter, 2)]
        order += [*pairs, *(lanes // 2 + pair for pair in pairs)]
    return order


def shuffled(builder, first, second, order):
    """Emitter: elements of two vectors, as if they were one."""
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(INT32, len(order)), order))


def pick(builder, vectors, wanted):
    """Emitter: the elements ``wanted`` of ``vectors``, as if these were one."""
    lanes = vectors[0].type.count
    chosen = undefined = ir.Constant(vectors[0].type, ir.Undefined)
    for j in range(0, len(vectors), 2):
        first, second = [*vectors, undefined][j : j + 2]
        own = [index // lanes in (j, j + 1) for index in wanted]
        order = [index - j * lanes if here else 0 for here, index in zip(own, wanted, strict=True)]
        part = shuffled(builder, first, second, order)
        merged = [lanes + lane if here else lane for lane, here in enumerate(own)]
        chosen = shuffled(builder, chosen, part, merged) if j else part
    return chosen


def mask_of(builder, bits, lanes):
    """Emitter: a mask of its bits."""
    return builder.bitcast(builder.trunc(bits, ir.IntType(lanes)), ir.VectorType(BIT, lanes))


def load_columns(builder, columns, vector, place, masks):
    """Emitter: for every reach the columns ``reach``, ``reach + advance``, … of the row at ``place``.

    masks: the bits of those of ``columns``
    """
    lanes, advance, loaded = vector.count, columns.advance, []
    for (start, after, count), used, bits in zip(columns.loads, columns.used, masks, strict=False):
        few = min(lanes, 4) if count < lanes else lanes
        kind = ir.VectorType(vector.element, few)
        there = builder.gep(place, [INT64(start + after)])
        loaded.append(load_masked(builder, kind, there, mask_of(builder, bits, few)) if used else ir.Constant(kind, None))

    def sorted_from(start, phase):
        first = columns.starts.index(start) * advance
        return pick(builder, loaded[first : first + advance], [target * advance + phase for target in columns.order])

    singles, chosen = loaded[len(columns.starts) * advance :], {}
    for reach in columns.reaches:
        start = columns.start_of(reach)
        if reach not in columns.borrowed:
            chosen[reach] = sorted_from(start, reach - start)
    for (reach, far), single in zip(columns.borrowed.items(), singles, strict=True):
        phase = reach % advance
        neighbour = chosen.get(columns.main + phase) or sorted_from(columns.main, phase)
        few = single.type.count
        end = shuffled(builder, single, ir.Constant(single.type, None), [min(lane, few) for lane in range(lanes)])
        place_of = {target: lane for lane, target in enumerate(columns.order)}
        chosen[reach] = shuffled(builder, neighbour, end, [place_of.get(target + far, lanes) for target in columns.order])
    return chosen
