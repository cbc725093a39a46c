"""A window on planes that lie one after another, as words: lanes are the pixels of all of them, however small each is (NCHW).

The planes of as many channels as a vector has lanes are a whole number of vectors, and are read as one *run* of pixels without
regard to where rows and planes end.  Lane by lane a column of taps sums the pixels above and below,

    A[s][i] = sum over r of x[i + reach[r] * W] * weight[plane of i, r, s]

and a target is the sum of these a few lanes apart, out[i] = sum over s of A[s][i + reach[s]]: of 3 x 3 taps, 3 loads and 2
shifts serve 9 multiplications.  Masks, known beforehand, leave out what lies beyond an image or in another plane, so that
nothing that is there meets a sum.  Several images go through the same vectors together: taps are spread over the lanes once.

A ``PlaneRun`` is an argument that carries no data: its Numba *type* lists the taps' reaches.  The sums of a vector are
finished in the step after it, where its last lanes meet their neighbours: ``advance`` carries them there.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .dataless import dataless
from .emit import INT32, INT64, fused_multiply_add, load_masked, load_vector, store_masked, store_vector
from .shifted import mask_of
from .simd import Pointer, word
from .tile import Sums, TileType


class PlaneRun:
    """The window of two ``Axis`` of ``geometry`` without a stride, on planes of as many pixels as their targets have.

    partial: whether a run may end within a vector

    Attributes
    ----------
    carried : int
        Vectors of an image that one step hands to the next: finished targets, unfinished ones, and the sum for each column of
        taps that reaches to a side.
    masks : int
        Entries of a step: the pixels of each row of taps, the sums of each column that reaches to a side, the targets, and
        whether lanes are of other planes than in the step before.
    """

    def __init__(self, vertical, horizontal, partial):
        self.extent = vertical.target, horizontal.target
        self._numba_type_ = PlaneRunType(tuple(vertical.taps[0]), tuple(horizontal.taps[0]), partial)
        self.carried, self.masks = self._numba_type_.carried, self._numba_type_.masks

    def tables(self, planes, lanes, index):
        """(masks, planes of the lanes) of a step for each vector of a run of ``planes`` planes, and of one more.

        Bit i of a mask says whether there is something in lane i.  Pixels are those of the step's own vector, targets those
        of the one before.  index: dtype of the second table
        """
        height, width = self.extent
        steps = -(-planes * height * width // lanes) + 1
        pixel = np.arange(-lanes, steps * lanes)
        plane, row, column = pixel // (height * width), pixel // width % height, pixel % width
        exists, kind = (plane >= 0) & (plane < planes), self._numba_type_
        here, before = slice(lanes, None), slice(None, -lanes)
        parts = [(exists & (row + reach >= 0) & (row + reach < height))[here] for _, reach in kind.down]
        for reach in kind.sideways:
            parts.append((exists & (column + reach >= 0) & (column + reach < width))[before if reach > 0 else here])
        parts.append(exists[before])
        bits = np.stack(parts, 1).reshape(steps, lanes, -1)
        masks = np.einsum("vlm,l->vm", bits, 1 << np.arange(lanes))
        planes = (plane * exists)[here].reshape(steps, lanes)
        fresh = np.any(planes != np.roll(planes, 1, axis=0), axis=1)
        return np.column_stack([masks, fresh]).astype(np.intp), planes.astype(index)


class PlaneRunType(types.Type):
    """The type of a ``PlaneRun``; down, across: (tap, reach) of the rows of taps and of the columns."""

    def __init__(self, down, across, partial):
        self.down, self.across, self.partial = down, across, partial
        self.sideways = [reach for _, reach in across if reach]
        self.carried, self.masks = 2 + len(self.sideways), len(down) + len(self.sideways) + 2
        self.factors = len(down) * len(across) + 1
        super().__init__(f"PlaneRun({down}, {across}, {partial})")


dataless(PlaneRunType, "masks", "factors", value=PlaneRun)


def spread(builder, values, lanes):
    """Emitter: element ``lanes[i]`` of the vector ``values`` in lane i; one instruction where there is one for it."""
    chosen = ir.Constant(values.type, ir.Undefined)
    for lane in range(values.type.count):
        element = builder.extract_element(values, builder.extract_element(lanes, INT32(lane)))
        chosen = builder.insert_element(chosen, element, INT32(lane))
    return chosen


def mask_at(builder, masks, index, lanes):
    """Emitter: entry ``index`` of a step's masks."""
    return mask_of(builder, builder.load(builder.gep(masks, [INT64(index)])), lanes)


def columns_of(builder, run, factors, places, masks):
    """Emitter: the sums A of each column of taps, by reach; the bias is in that of the targets' own column, or alone."""
    columns, bias = len(run.across), builder.extract_value(factors, [0, run.factors - 1])
    sums = dict.fromkeys((reach for _, reach in run.across), None) | {0: bias}
    for (line, reach), place, mask in zip(run.down, places, masks, strict=False):
        whole = reach == 0 and not run.partial
        pixels = load_vector(builder, bias.type, place) if whole else load_masked(builder, bias.type, place, mask)
        for tap, aside in run.across:
            factor, total = builder.extract_value(factors, [0, line * columns + tap]), sums[aside]
            first = total is None
            sums[aside] = builder.fmul(pixels, factor) if first else fused_multiply_add(builder, pixels, factor, total)
    return sums


def shifted(builder, before, here, reach):
    """Emitter: lanes ``reach`` further on: of the targets in ``before`` if they reach forwards, else of those in ``here``."""
    lanes = here.type.count
    start = reach if reach > 0 else lanes + reach
    return builder.shuffle_vector(before, here, ir.Constant(ir.VectorType(INT32, lanes), [start + i for i in range(lanes)]))


@word(lambda run, weights, bias, planes: Sums(TileType(1, run.factors, bias)))
def spread_taps(builder, result, run, weights, bias, planes):
    """The taps, row by row, and last the bias, in each lane those of its plane.

    weights: pointer to a vector for each tap, of a lane for each plane; bias: such a vector
    planes: pointer to this vector's entry in the table of ``run``
    """
    vector, spread_out = bias.type, ir.Constant(result, ir.Undefined)
    lanes = load_vector(builder, ir.VectorType(planes.type.pointee, vector.count), planes)
    for j in range(result.element.count - 1):
        tap = load_vector(builder, vector, builder.gep(weights, [INT64(j * vector.count)]))
        spread_out = builder.insert_value(spread_out, spread(builder, tap, lanes), [0, j])
    return builder.insert_value(spread_out, spread(builder, bias, lanes), [0, result.element.count - 1])


@intrinsic
def advance(_context, tile, run, carried, factors, source, pitches, masks):
    """One step along the run: what is ``carried`` from one vector to the next, for each image of the tile.

    source: pointer to the vector's pixels in the first image; pitches: elements to the next (image, row)
    factors: of ``spread_taps``; masks: pointer to this vector's entries in the table of ``run``
    """

    def generate(_context, builder, _signature, values):
        carried, factors, source, pitches, masks = values[2:]
        vector = carried.type.element.element
        known = [mask_at(builder, masks, i, vector.count) for i in range(run.masks - 2)]
        image, row = (builder.extract_value(pitches, i) for i in range(2))
        places = [builder.gep(source, [builder.mul(row, INT64(reach))]) for _, reach in run.down]
        nothing = ir.Constant(vector, None)
        for i in range(tile.rows):
            sums = columns_of(builder, run, factors, places, known)
            done, unfinished = builder.extract_value(carried, [i, 1]), sums[0]
            for j, (reach, mask) in enumerate(zip(run.sideways, known[len(run.down) :], strict=True), 2):
                before = builder.extract_value(carried, [i, j])
                met = builder.select(mask, shifted(builder, before, sums[reach], reach), nothing)
                carried = builder.insert_value(carried, sums[reach], [i, j])
                if reach > 0:
                    done = builder.fadd(done, met)
                else:
                    unfinished = builder.fadd(unfinished, met)
            carried = builder.insert_value(builder.insert_value(carried, done, [i, 0]), unfinished, [i, 1])
            places = [builder.gep(place, [image]) for place in places]
        return carried

    if not isinstance(run, PlaneRunType) or not isinstance(carried, Sums):
        return None
    table, pitches = Pointer(types.int64, tile.lanes), types.UniTuple(types.intp, 2)
    return carried(tile, run, carried, factors, source, pitches, table), generate


@word(lambda carried: Sums(TileType(carried.tile.rows, 1, carried.tile.vector)) if isinstance(carried, Sums) else None)
def finished(builder, result, carried):
    """The targets of the vector before, of each image."""
    total = ir.Constant(result, ir.Undefined)
    for i in range(result.count):
        total = builder.insert_value(total, builder.extract_value(carried, [i, 0]), [i, 0])
    return total


@intrinsic
def add_images(_context, run, total, addend, pitch, masks):
    """total + the vector at ``addend`` of each image, which are ``pitch`` elements apart."""

    def generate(_context, builder, _signature, values):
        _, total, addend, pitch, masks = values
        vector = total.type.element.element
        for i in range(total.type.count):
            if run.partial:
                loaded = load_masked(builder, vector, addend, mask_at(builder, masks, run.masks - 2, vector.count))
            else:
                loaded = load_vector(builder, vector, addend)
            total = builder.insert_value(total, builder.fadd(builder.extract_value(total, [i, 0]), loaded), [i, 0])
            addend = builder.gep(addend, [pitch])
        return total

    return total(run, total, addend, types.intp, masks), generate


@intrinsic
def store_images(_context, run, total, target, pitch, masks):
    """``total`` to the vector at ``target`` of each image, which are ``pitch`` elements apart."""

    def generate(_context, builder, _signature, values):
        _, total, target, pitch, masks = values
        lanes = total.type.element.element.count
        for i in range(total.type.count):
            value = builder.extract_value(total, [i, 0])
            if run.partial:
                store_masked(builder, value, target, mask_at(builder, masks, run.masks - 2, lanes))
            else:
                store_vector(builder, value, target)
            target = builder.gep(target, [pitch])

    return types.none(run, total, target, types.intp, masks), generate
