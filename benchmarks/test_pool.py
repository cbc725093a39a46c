"""Pooling as the networks of the zoo do it, on one thread; GB/s in ``extra_info``."""

from __future__ import annotations

from typing import Any

import pytest

from fastconv.bench.cases import Case, cases
from fastconv.bench.contestants import ours
from fastconv.bench.contestants.operands import Operands
from fastconv.bench.serve import expected, verify

CASES = [case for direction in ("forward", "backward_input") for case in cases("pool", direction, ["lenet5", "mnist-cnn"])]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.direction}-{case.text}")
def test_pool(benchmark: Any, case: Case) -> None:
    operands = Operands(case)
    entry = ours.entry(case, operands, 1)
    assert entry is not None
    verify(entry, expected(case, operands))
    benchmark(entry.call)
    if benchmark.enabled:
        benchmark.extra_info["gigabytes_per_second"] = case.problem.bytes / benchmark.stats["median"] / 1e9
