"""Linear transforms of small patches: Y = M X Mᵀ on vectors, the matrix M a compile-time constant.

A ``Transform`` is a value that carries no data: its Numba *type* is the matrix, so that the multiplications by its entries
are written out, those by 0 and 1 are not, and what two rows or two columns share is computed once.  Lanes run over channels:
a patch of n x n pixels is n x n vectors, and no lane ever meets another.  A ``Scheme`` is an argument of the same kind that
holds the three transforms of one of Winograd's convolutions.
"""

from functools import reduce

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .dataless import dataless
from .emit import (
    BIT,
    INT64,
    constant,
    first_lanes,
    fused_multiply_add,
    load_masked,
    load_vector,
    splat,
    store_masked,
    store_vector,
    stream_vector,
)
from .pooled import first_of_four
from .simd import Pointer, word


class TransformType(types.Type):
    """The type of a ``Transform``: the map X → M X Mᵀ for a matrix M (outputs, inputs)."""

    def __init__(self, matrix):
        self.matrix = tuple(map(tuple, np.asarray(matrix, np.float64).tolist()))
        self.outputs, self.inputs = len(self.matrix), len(self.matrix[0])
        super().__init__(f"Transform({self.outputs}x{self.inputs}, {hash(self.matrix) & 0xFFFFFFFF:08x})")


class Scheme:
    """The transforms of F(m x m, r x r), which computes m x m outputs from a patch of n x n pixels, n = m + r - 1.

    sums: vectors that the output's transform reads, fewer than points where products of several are added up first.

    In compiled code ``scheme.output`` Aᵀ (m, n), ``scheme.taps`` G (n, r) and ``scheme.input`` Bᵀ (n, n) are transforms, with
    ``inputs`` and ``outputs``, and ``scheme.points`` is n * n.
    """

    def __init__(self, output, taps, input):
        self.points, self.sums = len(input) ** 2, np.shape(output)[1] ** 2
        self._numba_type_ = SchemeType(*map(TransformType, (output, taps, input)))


class SchemeType(types.Type):
    """The type of a ``Scheme``."""

    def __init__(self, output, taps, input):
        self.output, self.taps, self.input = output, taps, input
        self.points = input.outputs * input.outputs
        super().__init__(f"Scheme({output}, {taps}, {input})")


dataless(TransformType, "inputs", "outputs")
dataless(SchemeType, "points", "output", "taps", "input", value=Scheme)


@word(lambda transform: TransformType(np.eye(transform.inputs)))
def inputs_unchanged(builder, result, transform):
    """The transform that leaves what ``transform`` reads as it is."""


@word(lambda transform: TransformType(np.eye(transform.outputs)))
def outputs_unchanged(builder, result, transform):
    """The transform that leaves what ``transform`` writes as it is."""


# ----------------------------------------------------------------------------------------- emitters: a matrix times vectors


def combine(builder, row, inputs):
    """The sum of row[j] * inputs[j]: a factor of 1 costs an addition, of 0 nothing, any other a fused multiply-add."""
    total = None
    for factor, vector in sorted(zip(row, inputs, strict=True), key=lambda term: abs(term[0]) != 1):
        if factor == 0:
            continue
        if total is None:
            total = vector if factor == 1 else builder.fmul(constant(vector.type, factor), vector)
        elif abs(factor) == 1:
            total = (builder.fadd if factor > 0 else builder.fsub)(total, vector)
        else:
            total = fused_multiply_add(builder, constant(vector.type, factor), vector, total)
    return ir.Constant(inputs[0].type, None) if total is None else total


def mirrored(a, b):
    """Whether two rows (columns) agree in some entries and are opposite in all others: those of the points p and -p."""
    same, opposite = np.isclose(a, b), np.isclose(a, -b)
    return np.all(same | opposite) and np.any(same & ~opposite) and np.any(opposite & ~same)


def multiply(builder, matrix, inputs):
    """matrix @ inputs.  Mirrored columns are combined first, mirrored rows share their halves."""
    matrix, inputs = matrix.copy(), list(inputs)
    for j in range(matrix.shape[1] - 1):
        left, right = matrix[:, j].copy(), matrix[:, j + 1].copy()
        if np.count_nonzero(left) > 1 and mirrored(left, right):
            inputs[j], inputs[j + 1] = builder.fadd(inputs[j], inputs[j + 1]), builder.fsub(inputs[j], inputs[j + 1])
            same = np.isclose(left, right)
            matrix[:, j], matrix[:, j + 1] = np.where(same, left, 0), np.where(same, 0, left)
    outputs, i = [], 0
    while i < matrix.shape[0]:
        row = matrix[i]
        if i + 1 < matrix.shape[0] and mirrored(row, matrix[i + 1]):
            same = np.isclose(row, matrix[i + 1])
            even, odd = combine(builder, np.where(same, row, 0), inputs), combine(builder, np.where(same, 0, row), inputs)
            outputs += [builder.fadd(even, odd), builder.fsub(even, odd)]
            i += 2
        else:
            outputs.append(combine(builder, row, inputs))
            i += 1
    return outputs


def both_sides(builder, matrix, load):
    """M X Mᵀ as a list of rows, X[r, s] loaded by ``load(r, s)``, column by column."""
    inputs = matrix.shape[1]
    columns = [multiply(builder, matrix, [load(r, s) for r in range(inputs)]) for s in range(inputs)]
    return [multiply(builder, matrix, [column[i] for column in columns]) for i in range(matrix.shape[0])]


# ------------------------------------------------------------------------------------------------------------------ words


def words_of(transform, source):
    """The LLVM vector type behind a Pointer type, and the matrix of a Transform type in that precision."""
    element = ir.DoubleType() if source.element == types.float64 else ir.FloatType()
    vector = ir.VectorType(element, source.lanes)
    dtype = np.float64 if source.element == types.float64 else np.float32
    # Rounded first, so that entries that are equal or opposite stay so.
    return vector, np.array(transform.matrix, dtype).astype(np.float64)


def offset(builder, i, row, j, column):
    return builder.add(builder.mul(INT64(i), row), builder.mul(INT64(j), column))


def within(builder, i, low, high):
    """Whether low <= i < high."""
    return builder.and_(builder.icmp_signed("<=", low, INT64(i)), builder.icmp_signed("<", INT64(i), high))


def any_unfinite(builder, total, lanes):
    """Whether any of the ``lanes`` of any vector in the sum ``total`` is NaN or infinite: what is minus itself is NaN.

    Also where finite numbers have an infinite sum: whoever asks has to look closer.
    """
    difference = builder.fsub(total, total)
    bad = builder.and_(builder.fcmp_unordered("uno", difference, difference), lanes)
    bits = ir.IntType(bad.type.count)
    return builder.icmp_unsigned("!=", builder.bitcast(bad, bits), bits(0))


@intrinsic
def transform_patch(_context, transform, source, strides, bounds, count, target, step):
    """target[(i * outputs + j) * step] = (M X Mᵀ)[i, j], one vector of channels for each pixel of the patch X.

    strides: (row, column) of X in elements; bounds: None, or (top, bottom, left, right): pixels outside are zero and not
    read; count: channels that exist, the other lanes are zero.
    """
    bounded = not isinstance(bounds, types.NoneType)

    def generate(context, builder, signature, values):
        _, source, strides, bounds, count, target, step = values
        vector, matrix = words_of(transform, signature.args[1])
        row, column = (builder.extract_value(strides, i) for i in range(2))
        lanes = first_lanes(builder, count, vector.count)
        if bounded:
            top, bottom, left, right = (builder.extract_value(bounds, i) for i in range(4))
            rows = [within(builder, r, top, bottom) for r in range(transform.inputs)]
            columns = [within(builder, s, left, right) for s in range(transform.inputs)]

        def load(r, s):
            mask = lanes
            if bounded:
                exists = splat(builder, builder.and_(rows[r], columns[s]), vector.count)
                mask = builder.and_(lanes, exists)
            return load_masked(builder, vector, builder.gep(source, [offset(builder, r, row, s, column)]), mask)

        for i, outputs in enumerate(both_sides(builder, matrix, load)):
            for j, output in enumerate(outputs):
                place = builder.mul(INT64(i * transform.outputs + j), step)
                store_vector(builder, output, builder.gep(target, [place]))
        return context.get_dummy_value()

    accepted = transform, source, types.UniTuple(types.intp, 2), bounds, types.intp, target, types.intp
    return types.none(*accepted), generate


@intrinsic
def transform_points(_context, transform, source, step, epilogue, targets, strides, extent):
    """out[i, j] = relu?((M X Mᵀ)[i, j] + bias + residual[i, j]), X[r, s] the vector at source[(r * inputs + s) * step].

    epilogue: (bias or None, residual or None, rectifies), pointers to the first channel; targets: (out, None, streams), where
    ``streams`` says that patches that exist as a whole go past the caches, or (out, positions, keeps) where only the maximum
    of each 2 x 2 outputs goes to ``out``, after relu, and its place to ``positions`` if ``keeps``; strides: (row, column) of
    the targets and the residual; extent: (rows, columns, channels) of the targets that exist.  Returns whether any of M X Mᵀ
    may not be finite.
    """
    has_bias, has_residual = (isinstance(kind, Pointer) for kind in epilogue.types[:2])
    pools = isinstance(targets.types[1], Pointer)

    def generate(_context, builder, signature, values):
        _, source, step, epilogue, targets, strides, extent = values
        vector, matrix = words_of(transform, signature.args[1])
        bias, residual, rectifies = (builder.extract_value(epilogue, i) for i in range(3))
        target, positions, keeps = (builder.extract_value(targets, i) for i in range(3))
        row, column = (builder.extract_value(strides, i) for i in range(2))
        bottom, right, count = (builder.extract_value(extent, i) for i in range(3))
        lanes, nothing = first_lanes(builder, count, vector.count), ir.Constant(vector, None)
        start = load_masked(builder, vector, bias, lanes) if has_bias else None

        def load(r, s):
            point = builder.mul(INT64(r * transform.inputs + s), step)
            return load_vector(builder, vector, builder.gep(source, [point]))

        def existing(i, j):
            exists = builder.and_(within(builder, i, INT64(0), bottom), within(builder, j, INT64(0), right))
            return builder.and_(lanes, splat(builder, exists, vector.count))

        def biased(output):
            return builder.fadd(output, start) if has_bias else output

        patch, total = both_sides(builder, matrix, load), nothing
        if pools:
            kept = splat(builder, builder.trunc(keeps, BIT), vector.count)
            for i, j in np.ndindex(transform.outputs // 2, transform.outputs // 2):
                window = [patch[2 * i + n // 2][2 * j + n % 2] for n in range(4)]
                for output in window:
                    total = builder.fadd(total, output)
                largest, which = first_of_four(builder, [biased(output) for output in window])
                mask, place = existing(i, j), offset(builder, i, row, j, column)
                store_masked(builder, largest, builder.gep(target, [place]), mask)
                store_masked(builder, which, builder.gep(positions, [place]), builder.and_(mask, kept))
        else:
            rectifies, finished = splat(builder, builder.trunc(rectifies, BIT), vector.count), []
            for i, j in np.ndindex(transform.outputs, transform.outputs):
                total = builder.fadd(total, patch[i][j])
                output, mask, place = biased(patch[i][j]), existing(i, j), offset(builder, i, row, j, column)
                if has_residual:
                    output = builder.fadd(output, load_masked(builder, vector, builder.gep(residual, [place]), mask))
                negative = builder.and_(rectifies, builder.fcmp_ordered("<", output, nothing))
                finished.append((builder.select(negative, nothing, output), builder.gep(target, [place]), mask))
            sides = ((bottom, transform.outputs), (right, transform.outputs), (count, vector.count))
            whole = [builder.icmp_signed(">=", exists, INT64(side)) for exists, side in sides]
            with builder.if_else(reduce(builder.and_, whole, builder.trunc(keeps, BIT))) as (past_caches, otherwise):
                with past_caches:
                    for output, place, _ in finished:
                        stream_vector(builder, output, place)
                with otherwise:
                    for output, place, mask in finished:
                        store_masked(builder, output, place, mask)
        return any_unfinite(builder, total, lanes)

    pair, triple = types.UniTuple(types.intp, 2), types.UniTuple(types.intp, 3)
    return types.boolean(transform, source, types.intp, epilogue, targets, pair, triple), generate
