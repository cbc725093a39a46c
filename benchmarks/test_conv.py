"""Single convolutions, call by call, on one thread; GFLOP/s in ``extra_info``.

LeNet-5 and the MNIST network, unless FASTCONV_BENCHMARK_NETWORKS names others: "resnet50 vgg16".
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from fastconv.bench.cases import DIRECTIONS, Case, cases, running
from fastconv.bench.contestants import ours
from fastconv.bench.contestants.operands import Operands
from fastconv.bench.serve import expected, verify
from fastconv.dispatch import Kernel

NETWORKS = os.environ.get("FASTCONV_BENCHMARK_NETWORKS", "lenet5 mnist-cnn").split()
CASES = [
    pytest.param(kernel, case, id=f"{kernel.name}-{case.text}")
    for direction in DIRECTIONS
    for case in cases("conv", direction, NETWORKS)
    for kernel in running("conv", direction, case.problem)
]


@pytest.mark.parametrize(("kernel", "case"), CASES)
def test_conv(benchmark: Any, kernel: Kernel, case: Case) -> None:
    operands = Operands(case)
    entry = ours.entry(case, operands, 1, kernel.layout or "NHWC", kernel.algorithm)
    assert entry is not None
    verify(entry, expected(case, operands))
    benchmark(entry.call)
    if benchmark.enabled:
        benchmark.extra_info["gflops"] = case.problem.flops / benchmark.stats["median"] / 1e9
