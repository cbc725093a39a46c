"""The plan of a matrix product around any engine: from the arrays of a call to a launch for each product of the stack."""

from __future__ import annotations

from functools import cache
from itertools import product as every
from math import prod

from .arrays import view
from .epilogue import Epilogue
from .launch import start
from .operands import blocks, fitting, operand, store_width
from .panel import fillers
from .pipeline import Product, matrix_source, product

MOST_AT_ONCE = 65535
"""The longest second axis of a grid."""


def axes_at_once(stack, a, b):
    """How many of the last axes of a stack one launch can take: along them A and B advance in steps of one size."""
    axes = 0
    while axes < len(stack) and prod(stack[len(stack) - axes - 1 :]) <= MOST_AT_ONCE:
        outer, inner = len(stack) - axes - 1, len(stack) - axes
        if axes and any(each.strides[outer] != each.strides[inner] * stack[inner] for each in (a, b)):
            break
        axes += 1
    return axes


@cache
def variant(make_engine, tile, a, b, store):
    """The kernel for two operands, each (order, width)."""
    engine = make_engine(tile, a[0], b[0], store)
    a_filler, b_filler = fillers(
        (engine.a_panel, *a, matrix_source("a", a[0])), (engine.b_panel, *b, matrix_source("b", b[0])), tile.threads
    )
    return product(engine, a_filler, b_filler, Product)


class MatrixProduct:
    """A plan: ``plan(a, b, out, bias=None, residual=None, activation=None)``, as ``matmul`` documents it.

    ``engine`` is the function that makes one for a tile, two orders and a width of stores; ``tiles`` are its own, the largest
    first, of which ``tile`` may be chosen.
    """

    workspace_bytes = 0

    def __init__(self, problem, threads=1, *, engine, tiles, tile=None):
        self.problem, self.threads, self.engine = problem, threads, engine
        self.tile = tile or fitting(tiles, problem.M, problem.N)

    def __call__(self, a, b, out, bias=None, residual=None, activation=None):
        problem = self.problem
        result = view(out)
        if result.size == 0:
            return
        a, b = view(a).broadcast(problem.stack, 2), view(b).broadcast(problem.stack, 2)
        addend = None if residual is None else view(residual)
        offset = None if bias is None else view(bias)
        epilogue = Epilogue(int(bias is not None), int(residual is not None), int(activation == "relu"))
        leading = problem.stack[: len(problem.stack) - axes_at_once(problem.stack, a, b)]
        for index in every(*map(range, leading)):
            self.launch(a.part(*index), b.part(*index), result.part(*index), offset, addend and addend.part(*index), epilogue)

    def launch(self, a, b, c, bias, addend, epilogue):
        """Start the kernel for products whose matrices lie in steps of one size."""
        M, N, K = self.problem.M, self.problem.N, self.problem.K
        axes = len(c.shape) - 2
        a_step, b_step = (matrices.strides[axes - 1] if axes else 0 for matrices in (a, b))
        rows, columns = (operand(matrices.part(*[0] * axes), 1 - k) for k, matrices in enumerate((a, b)))
        rows, columns = rows.every(a_step), columns.every(b_step)
        kernel = variant(self.engine, self.tile, (rows.order, rows.width), (columns.order, columns.width), store_width(c))
        geometry = Product(M, N, K, rows.pitch, columns.pitch, a_step, b_step)
        grid = blocks(self.tile, M, N), prod(c.shape[:axes])
        start(kernel, grid, (c, a, b, bias, addend), (geometry, epilogue))
