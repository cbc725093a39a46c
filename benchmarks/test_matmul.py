"""Matrix products of several sizes on one thread, and NumPy's beside them; GFLOP/s in ``extra_info``."""

from __future__ import annotations

from typing import Any

import pytest
from threadpoolctl import threadpool_limits  # scikit-learn has it with it

from fastconv.bench.cases import Case, product
from fastconv.bench.contestants import library
from fastconv.bench.contestants.operands import Operands
from fastconv.bench.serve import expected, verify

SIZES = ("64x64x64", "256x256x256", "1024x1024x1024", "128x10x128", "128x128x3136")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("contestant", ["ours", "numerical"])
def test_matmul(benchmark: Any, contestant: str, size: str) -> None:
    case = Case("matmul", "forward", product(size), size)
    operands = Operands(case)
    entry = library(contestant).entry(case, operands, 1)
    verify(entry, expected(case, operands))
    with threadpool_limits(1):
        benchmark(entry.call)
    if benchmark.enabled:
        benchmark.extra_info["gflops"] = case.problem.flops / benchmark.stats["median"] / 1e9
