"""Matrix products of several sizes on one thread, and NumPy's beside them; GFLOP/s in ``extra_info``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits  # scikit-learn has it with it

from benchmarks.cases import noise, running
from fastconv.dispatch import Matmul

SIZES = [(64, 64, 64), (256, 256, 256), (1024, 1024, 1024), (128, 10, 128), (128, 128, 3136)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("library", ["fastconv", "numpy"])
def test_matmul(benchmark: Any, library: str, size: tuple[int, int, int]) -> None:
    problem = Matmul(*size)
    a, b = noise((problem.M, problem.K)), noise((problem.K, problem.N))
    out = np.empty((problem.M, problem.N), problem.dtype)
    call = running("matmul", "forward", problem)[0].plan(problem, 1) if library == "fastconv" else np.matmul
    call(a, b, out)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(out, exact, rtol=0, atol=1e-5 * float(np.abs(exact).max()))  # verified before timed
    with threadpool_limits(1):
        benchmark(call, a, b, out)
    if benchmark.enabled:
        benchmark.extra_info["gflops"] = problem.flops / benchmark.stats["median"] / 1e9
