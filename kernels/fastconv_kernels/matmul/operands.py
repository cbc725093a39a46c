"""What every product of matrices on the CPU has in common: operands in memory, epilogue, stacks, threads, and its plan.

A stack of products is one launch: a table has the place of each product's A and B, so that broadcasting costs nothing.  Few
products are each cut among the threads, many are dealt out whole.  K is cut alike for any number of threads, or never, so
that they change no bit.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..cpu.borrowed import Example
from ..cpu.compile import inlined
from ..cpu.places import block
from ..cpu.share import THREAD_FLOPS, share, stripe, threads_for
from ..cpu.simd import entry
from ..cpu.tile import add_tile, load_tile, rectify, room, store_tile, table_at
from ..cpu.workspace import far_caches, workspace
from ..problems import Matmul

Array = np.ndarray[Any, np.dtype[Any]]

FEW = 4
"""Rows of A for which memory sets the pace: with more there is arithmetic enough to do something else."""

# ------------------------------------------------------------------------------------------------------- in compiled code


class Matrix(NamedTuple):
    """A matrix in memory: element (i, j) is at ``start + i * row + j * column``."""

    start: Any
    row: int
    column: int


FACTS = 9
"""What all plans pass on: the sizes of a product, the table of products, at most two buffers."""


class Epilogue(NamedTuple):
    """C = relu?(A @ B + bias + addend?): ``bias`` for each column; ``addend`` a matrix like C, C itself to accumulate."""

    bias: Any
    addend: Any
    adds: bool
    rectifies: bool


@inlined
def at(matrix, i, j):
    """The address of element (i, j)."""
    return matrix.start + (i * matrix.row + j * matrix.column)


@inlined
def beyond(matrix, i, j):
    """The matrix without its first ``i`` rows and ``j`` columns."""
    return Matrix(at(matrix, i, j), matrix.row, matrix.column)


@inlined
def facts_at(tile, address):
    """(the shape, the table of ``of_product``, the thread's buffers): one number is passed on faster than nine."""
    facts = table_at(tile, address)
    shape, table = (entry(facts, 0), entry(facts, 1), entry(facts, 2)), (entry(facts, 3), entry(facts, 4))
    return shape, table, (entry(facts, 5), entry(facts, 6)), (entry(facts, 7), entry(facts, 8))


@inlined
def blocks_at(tile, address):
    """What a plan that has blocks of its own has put after its other facts: six sizes."""
    facts = table_at(tile, address)
    return (
        entry(facts, FACTS),
        entry(facts, FACTS + 1),
        entry(facts, FACTS + 2),
        entry(facts, FACTS + 3),
        entry(facts, FACTS + 4),
        entry(facts, FACTS + 5),
    )


@inlined
def matrices(tile, operands, columns):
    """(A, B, C, addend, the bias): where the first product of the stacks is in memory."""
    a, b, c, bias, addend = operands
    return (
        Matrix(room(tile, a.address), a.row, a.column),
        Matrix(room(tile, b.address), b.row, b.column),
        Matrix(room(tile, c.address), columns, 1),
        Matrix(room(tile, addend.address), columns, 1),
        room(tile, bias.address),
    )


@inlined
def of_product(tile, located, table, product, shape):
    """(A, B, C, addend) of one product, from those of the first."""
    a, b, c, addend, _ = located
    offsets = table_at(tile, table[0])
    done = product * shape[0] * shape[1]
    return (
        Matrix(a.start + entry(offsets, 2 * product), a.row, a.column),
        Matrix(b.start + entry(offsets, 2 * product + 1), b.row, b.column),
        Matrix(c.start + done, c.row, 1),
        Matrix(addend.start + done, addend.row, 1),
    )


@inlined
def buffer(tile, place, thread):
    """The thread's own of the buffers at ``place``: (address, elements of each)."""
    return room(tile, place[0]) + thread * place[1]


@inlined
def products_of(thread, threads, products):
    """(first, end, thread, threads): the products that a thread takes part in, and the share that it has of each."""
    if products < DEALT * threads:
        return 0, products, thread, threads
    first, end = share(thread, threads, products)
    return first, end, 0, 1


PACKING, PASSING = 30, 4
"""Rows of A whose multiply-adds take as long as to pack B: before, 0.2 ns an element on a Zen 5, and on the way."""


@inlined
def largest(length, unit, threads):
    """The most that any of ``threads`` has of ``length`` cut at multiples of ``unit``."""
    return ((length + unit - 1) // unit + threads - 1) // threads * unit


@inlined
def part(tile, shape, packing, thread, threads):
    """(top, bottom, left, right) of a thread's part of C: a stripe of rows, or one of columns.

    Who has rows needs all of B: where threads pack what they need of it, which takes as long as ``packing`` rows, columns are
    better unless they cannot be cut as evenly.  Otherwise the longer side is cut, or rows where of columns some thread would
    have a tenth more: 128 x 400 x 120 on two threads took 31 µs for 38 by rows, and with the transpose of B, which is packed,
    44 for 40.
    """
    M, N, _ = shape
    by_rows = (largest(M, tile.rows, threads) + packing) * N
    by_columns = largest(N, tile.columns, threads) * (M + packing)
    tall = by_rows < by_columns if packing else (M >= N or 10 * by_columns > 11 * by_rows)
    top, bottom = stripe(thread if tall else 0, threads if tall else 1, M, tile.rows)
    left, right = stripe(0 if tall else thread, 1 if tall else threads, N, tile.columns)
    return top, bottom, left, right


@inlined
def begin(tile, total, epilogue, first, i, j, rows, count):
    """``total`` with the addend if it is the first of K: an output that is the addend too loses it when it is written."""
    if first and epilogue.adds:
        total = add_tile(total, load_tile(tile, block(tile, at(epilogue.addend, i, j), epilogue.addend.row, rows, count)))
    return total


@inlined
def finish(total, epilogue, place):
    """``total`` to its place for good."""
    if epilogue.rectifies:
        total = rectify(total)
    store_tile(total, place)


@inlined
def leave(tile, total, ends, i, j, rows, count, c, epilogue):
    """What this slice of K adds to ``rows`` x ``count`` elements of C."""
    first, last = ends
    place = block(tile, at(c, i, j), c.row, rows, count)
    if not first:  # what the slices of K before this one have summed
        total = add_tile(total, load_tile(tile, place))
    total = begin(tile, total, epilogue, first, i, j, rows, count)
    if last:
        finish(total, epilogue, place)
    else:
        store_tile(total, place)


# --------------------------------------------------------------------------------------------------------------- plans

DEALT = 4
"""Products for each thread from which on they are dealt out whole: then the last one makes little difference."""


FAR_GRAIN = 950_000
"""``THREAD_FLOPS`` of processors with a slow second cache, which take as long for less.

On two threads of a Granite Rapids 100 cubed took 10.5 µs for 13.9 on one, after 30 µs of other work 12.7 for 14.4; but 80
cubed 6.0 for 6.6, and then 8.2 for 7.0; and 96 cubed 8.5 to 18 for 10.8.
"""

PLAIN = False, False
"""The epilogue of a product alone: it adds nothing, it is not rectified."""


class Product:
    """What all plans share.  One call at a time."""

    run: Any
    """The threaded function: ``run(machinery, operands, epilogue, threads)``."""

    grain = FAR_GRAIN if far_caches() else THREAD_FLOPS
    """Work that pays for one more thread."""

    def __init__(self, problem: Matmul, threads: int, tile: Any, blocks: Any, *sizes: int, own: tuple[int, ...] = ()) -> None:
        """``sizes``: how many elements each of a thread's buffers has; ``own``: for ``blocks_at``."""
        self.problem = problem
        self.threads = threads_for(threads, problem.flops, self.grain)
        self._buffers = [workspace(self.threads, size, problem.dtype) for size in sizes]
        self._offsets = offsets(problem)
        table = self._offsets.ctypes.data, len(self._offsets)
        buffers = [number for buffer in self._buffers for number in (buffer.ctypes.data, buffer.shape[1])]
        facts = problem.M, problem.N, problem.K, *table, *buffers
        self._facts = np.array(facts + (0,) * (FACTS - len(facts)) + own, np.int64)
        self.machinery = tile, blocks, self._facts.ctypes.data
        self.workspace_bytes = sum(buffer.nbytes for buffer in self._buffers)
        self._no_bias = np.zeros(problem.N, problem.dtype)
        self._stacked = len(problem.out_shape) > 2
        self._bound: Any = None

    def _bind(self) -> Any:
        """``run`` for operands of these types."""
        self._bound = self.run.bound(self.machinery, (Example(self.problem.dtype),) * 5, PLAIN, self.threads)
        return self._bound

    def __call__(
        self,
        a: Array,
        b: Array,
        out: Array,
        bias: Array | None = None,
        residual: Array | None = None,
        activation: str | None = None,
    ) -> Array:
        """Write activation(a @ b + bias + residual) into ``out``.

        Parameters
        ----------
        a : problem.a_shape, b : problem.b_shape
            Matrices with a stride of one element along one of their axes; a stack of them has no gaps.
        out, residual : problem.out_shape, C-contiguous
            ``residual`` may be ``out``.
        bias : (N,)
        activation : None or "relu"
        """
        # A product of 16 x 16 matrices takes as long as a dozen of Python's instructions: here is no one too many.
        run = self._bound or self._bind()
        if bias is None and residual is None and activation is None and not self._stacked:
            run(self.machinery, (a, b, out, self._no_bias, out), PLAIN, self.threads)
            return out
        c = out
        if self._stacked:
            if not out.size:
                return out
            a, b, c = first(a), first(b), first(out)
            residual = None if residual is None else first(residual)
        operands = a, b, c, self._no_bias if bias is None else bias, c if residual is None else residual
        run(self.machinery, operands, (residual is not None, activation == "relu"), self.threads)
        return out


def first(stack: Array) -> Array:
    """The first matrix of a stack; ``offsets`` leads to the others."""
    return stack if stack.ndim <= 2 else stack[(0,) * (stack.ndim - 2)]


def offsets(problem: Matmul) -> Array:
    """(products, 2): how far, in elements, A and B of each product are from those of the first."""
    places = []
    for stack, size in ((problem.a_stack, problem.M * problem.K), (problem.b_stack, problem.K * problem.N)):
        own = np.arange(prod(stack), dtype=np.int64).reshape(stack) * size
        places.append(np.broadcast_to(own, problem.stack).reshape(-1))
    return np.ascontiguousarray(np.stack(places, 1))
