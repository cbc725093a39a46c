"""Pooling as the networks of the zoo do it, on one thread; GB/s in ``extra_info``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.cases import noise, running
from fastconv.dispatch import Pool, kernels

PROBLEMS = [
    Pool(mode, N, C, H, W, 2, 2, stride=(2, 2), layout="NHWC")
    for mode in ("max", "average")
    for N, C, H, W in ((128, 32, 28, 28), (128, 64, 14, 14), (64, 6, 28, 28))
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.mode}-{p.N}x{p.H}x{p.W}x{p.C}")
def test_pool(benchmark: Any, problem: Pool) -> None:
    x = noise(problem.x_shape)
    out, expected = np.empty(problem.out_shape, problem.dtype), np.empty(problem.out_shape, problem.dtype)
    plan = running("pool", "forward", problem)[0].plan(problem, 1)
    plan(x, out)
    kernels("pool", "forward")[-1].plan(problem, 1)(x, expected)
    np.testing.assert_allclose(out, expected, rtol=1e-6)  # verified before timed
    benchmark(plan, x, out)
    if benchmark.enabled:
        benchmark.extra_info["gigabytes_per_second"] = problem.bytes / benchmark.stats["median"] / 1e9
