"""CuPy's matrix product, on the GPU with its operands: nothing is copied there or back while it is timed."""

from __future__ import annotations

from typing import Any

import cupy

from fastconv.bench.cases import Case

from . import Entry
from .operands import Operands


def entry(case: Case, operands: Operands, threads: int) -> Entry | None:
    """``cupy.matmul``, from the host's call to the GPU's result."""
    a, b = (cupy.asarray(operands.matrix(name)) for name in "ab")
    out = cupy.empty((case.problem.M, case.problem.N), case.problem.dtype)
    stream = cupy.cuda.get_current_stream()

    def call() -> Any:
        cupy.matmul(a, b, out=out)
        stream.synchronize()
        return out

    return Entry(call, cupy.asnumpy)
