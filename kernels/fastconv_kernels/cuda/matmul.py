"""The plan of a matrix product around any engine: from the arrays of a call to a launch for each product of the stack."""

from __future__ import annotations

from functools import cache
from itertools import product as every

from .arrays import view
from .epilogue import Epilogue
from .launch import start
from .operands import blocks, fitting, operand, store_width
from .panel import fillers
from .pipeline import Product, matrix_source, product


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
        for index in every(*map(range, problem.stack)):
            self.launch(a.part(*index), b.part(*index), result.part(*index), offset, addend and addend.part(*index), epilogue)

    def launch(self, a, b, c, bias, addend, epilogue):
        """Start the kernel for one product of the stack."""
        M, N, K = self.problem.M, self.problem.N, self.problem.K
        rows, columns = operand(a, 1), operand(b, 0)
        kernel = variant(self.engine, self.tile, (rows.order, rows.width), (columns.order, columns.width), store_width(c))
        geometry = Product(M, N, K, rows.pitch, columns.pitch)
        start(kernel, blocks(self.tile, M, N), (c, a, b, bias, addend), (geometry, epilogue))
