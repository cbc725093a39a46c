"""NumPy's matrix product."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastconv.bench.cases import Case

from . import Entry
from .operands import Operands, empty

OPENBLAS_SPINS = 0.12
"""Seconds: the processor's time went on for 100 ms after a product."""


def entry(case: Case, operands: Operands, threads: int) -> Entry | None:
    """``numpy.matmul``; its threads are those of its process's environment."""
    out = empty((case.problem.M, case.problem.N), case.problem.dtype)
    call = partial(np.matmul, operands.matrix("a"), operands.matrix("b"), out=out)
    return Entry(call, lambda result: result, spins=OPENBLAS_SPINS)
