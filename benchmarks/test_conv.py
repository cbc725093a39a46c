"""What ``benchmarks.layers`` measures, call by call, on one thread; GFLOP/s in ``extra_info``."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.cases import convolutions, running
from benchmarks.layers import DIRECTIONS, verified
from fastconv.dispatch import Conv, Kernel

CASES = [
    pytest.param(kernel, problem, id=f"{kernel.name}-{name}")
    for name, problem in convolutions().items()
    for direction in DIRECTIONS
    for kernel in running("conv", direction, problem)
]


@pytest.mark.parametrize(("kernel", "problem"), CASES)
def test_conv(benchmark: Any, kernel: Kernel, problem: Conv) -> None:
    plan, arguments = verified(kernel, problem)
    benchmark(plan, *arguments)
    if benchmark.enabled:
        benchmark.extra_info["gflops"] = problem.flops / benchmark.stats["median"] / 1e9
