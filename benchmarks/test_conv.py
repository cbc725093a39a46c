"""Every convolution kernel on every layer of ``shapes/*.txt``, in each direction, on one thread; GFLOP/s in ``extra_info``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.cases import convolutions, noise, running
from fastconv.dispatch import Conv, Kernel, kernels

CASES = [
    pytest.param(kernel, problem, id=f"{kernel.name}-{name}")
    for name, problem in convolutions().items()
    for direction in ("forward", "backward_input", "backward_weight")
    for kernel in running("conv", direction, problem)
]


def prepared(kernel: Kernel, problem: Conv) -> tuple[Any, tuple[Any, ...], Any]:
    """A plan, the arguments of one call of it, and the array that it writes."""
    x, weight, grad = noise(problem.x_shape), noise(problem.weight_shape), noise(problem.out_shape)
    plan = kernel.plan(problem, 1)
    if kernel.direction == "forward":
        out = np.empty(problem.out_shape, problem.dtype)
        return plan, (x, plan.pack(weight), out), out
    if kernel.direction == "backward_input":
        out = np.empty(problem.x_shape, problem.dtype)
        return plan, (grad, plan.pack(weight), out), out
    out = np.empty(problem.weight_shape, problem.dtype)
    return plan, (grad, x, out), out


@pytest.mark.parametrize(("kernel", "problem"), CASES)
def test_conv(benchmark: Any, kernel: Kernel, problem: Conv) -> None:
    plan, arguments, out = prepared(kernel, problem)
    reference, same, expected = prepared(kernels("conv", kernel.direction)[-1], problem)
    plan(*arguments)
    reference(*same)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-4 * float(np.abs(expected).max()))  # verified before timed
    benchmark(plan, *arguments)
    if benchmark.enabled:
        benchmark.extra_info["gflops"] = problem.flops / benchmark.stats["median"] / 1e9
