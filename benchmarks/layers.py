"""Convolution kernels on layers of known networks as shares of the FMA peak: ``python -m benchmarks.layers``.

One thread; a row for each layer of ``cases.NETWORKS``, direction and CPU kernel that neither refuses nor declines it.  A share
above 1 is possible: a Winograd kernel does fewer multiplications than the definition, by which the work is counted.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import cases, peak, record
from fastconv.dispatch import Conv, Kernel, kernels

DIRECTIONS = ("forward", "backward_input", "backward_weight")
ENOUGH = 0.05
"""Seconds of a sample: calls are repeated until it is that long."""


def prepared(kernel: Kernel, problem: Conv) -> tuple[Any, tuple[Any, ...], Any]:
    """A plan on one thread, the arguments of one call of it, and the array that it writes."""
    problem = kernel.in_layout(problem)
    nhwc = problem.with_layout("NHWC")
    images = {name: cases.noise(getattr(nhwc, f"{name}_shape"), problem.dtype) for name in ("x", "out")}
    weight = cases.noise(nhwc.weight_shape, problem.dtype)
    if problem.layout == "NCHW":
        images = {name: np.ascontiguousarray(image.transpose(0, 3, 1, 2)) for name, image in images.items()}
        weight = np.ascontiguousarray(weight.transpose(3, 2, 0, 1))
    x, grad, plan = images["x"], images["out"], kernel.plan(problem, 1)
    if kernel.direction == "forward":
        out = np.empty_like(grad)
        return plan, (x, plan.pack(weight), out), out
    if kernel.direction == "backward_input":
        out = np.empty_like(x)
        return plan, (grad, plan.pack(weight), out), out
    out = np.empty_like(weight)
    return plan, (grad, x, out), out


def verified(kernel: Kernel, problem: Conv) -> tuple[Any, tuple[Any, ...]]:
    """The plan and its arguments, after one call whose result was compared with the reference's."""
    problem = kernel.in_layout(problem)
    plan, arguments, out = prepared(kernel, problem)
    reference, same, expected = prepared(kernels("conv", kernel.direction)[-1], problem)
    plan(*arguments)
    reference(*same)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-4 * float(np.abs(expected).max()))
    return plan, arguments


def rate(kernel: Kernel, problem: Conv, rounds: int) -> tuple[float, float]:
    """GFLOP/s of the kernel, and the share of the peak, which is measured before each sample."""
    plan, arguments = verified(kernel, problem)
    rates, shares = [], []
    for _ in range(rounds):
        top, calls, start = peak.measure(1), 0, perf_counter()
        while perf_counter() - start < ENOUGH:
            plan(*arguments)
            calls += 1
        rates.append(calls * problem.flops / (perf_counter() - start) / 1e9)
        shares.append(rates[-1] / top)
    return median(rates), median(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the JSON goes; the repository's results unless given")
    arguments = parser.parse_args()
    rows = []
    for layer, problem in cases.convolutions().items():
        for direction in DIRECTIONS:
            for kernel in cases.running("conv", direction, problem):
                gflops, share = rate(kernel, problem, arguments.rounds)
                rows.append({"kernel": kernel.name, "layer": layer, "gflops": round(gflops, 1), "of peak": round(share, 3)})
                print(json.dumps(rows[-1]), flush=True)
    print(record.write("layers", {"threads": 1, "rows": rows}, arguments.folder))


if __name__ == "__main__":
    main()
