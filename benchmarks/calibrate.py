"""Fit the cost model of convolution to this machine: ``python -m benchmarks.calibrate``.

Every kernel with a model is timed on one thread on the layers of all networks and on random shapes, in both layouts, and with
prepared weights on the layers with one image; then the costs of its units are the non-negative numbers for which the
predictions' relative errors are least.  They are written into the kernels' package, and ``choices.json`` among the machine's
results tells how the choices by prediction compare with the best that was measured.  ``--keep`` leaves the costs as they are:
it tells how costs of another machine choose here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from itertools import groupby, islice, product
from math import inf, sqrt
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

import fastconv as fc
import fastconv_kernels.conv.work as model
from fastconv.bench.cases import DIRECTIONS, NETWORKS, Case, cases
from fastconv.bench.circumstances import circumstances
from fastconv.bench.contestants.operands import Operands
from fastconv.bench.contestants.ours import entry
from fastconv.bench.timing import calls_for, repeat
from fastconv.dispatch import Conv, Kernel, kernels
from fastconv.shapes import written
from fastconv_kernels.registry import fastest

from . import record

COSTS = Path(model.__file__).with_name("costs.json")
HOPELESS = 4
"""A kernel that is predicted to need so many times as long as the fastest is not measured."""
BATCH = 2
RANDOM = 60
GROUPED = 20
SAMPLE = 0.006
"""Seconds."""


Question = tuple[Conv, str, bool]
"""What one kernel is chosen for: a problem, a direction, and whether the weights are prepared."""


class Row(NamedTuple):
    """A measurement: of a public call, or of a plan's with prepared weights."""

    kernel: Kernel
    problem: Conv
    prepared: bool
    seconds: float

    @property
    def question(self) -> Question:
        return self.problem, self.kernel.direction, self.prepared


def random_shapes(count: int) -> Iterator[Conv]:
    """Convolutions that no network has."""
    draw = np.random.default_rng(0)
    while count:
        size, window, stride = int(draw.integers(6, 60)), int(draw.choice([1, 3, 3, 3, 5, 7])), int(draw.choice([1, 1, 1, 2]))
        C, K = (int(2 ** draw.uniform(0, 9)) for _ in range(2))
        if window > size:
            continue
        pads = (window // 2, window // 2)
        yield Conv(int(draw.integers(1, 9)), C, size, size, K, window, window, (stride, stride), (pads, pads), layout="NHWC")
        count -= 1


def random_groups(count: int) -> Iterator[Conv]:
    """Convolutions in groups of few channels."""
    draw = np.random.default_rng(0)
    for _ in range(count):
        size, window, stride = int(draw.integers(7, 40)), int(draw.choice([3, 3, 5])), int(draw.choice([1, 1, 2]))
        groups, (C, K) = int(2 ** draw.uniform(1, 6)), (int(2 ** draw.uniform(0, 5)) for _ in range(2))
        pads, batch = (window // 2, window // 2), int(draw.integers(1, 9))
        shape = batch, groups * C, size, size, groups * K, window, window, (stride, stride), (pads, pads)
        yield Conv(*shape, groups=groups, layout="NHWC")


def of_networks(batch: int) -> list[Conv]:
    """Their layers."""
    return sorted({case.problem for case in cases("conv", "forward", NETWORKS, batch)}, key=str)


def questions() -> Iterator[Question]:
    """In both layouts; with prepared weights for one image at a time."""
    for problem in [*of_networks(BATCH), *random_shapes(RANDOM), *random_groups(GROUPED)]:
        for layout, direction in product(("NHWC", "NCHW"), DIRECTIONS):
            yield problem.with_layout(layout), direction, False
    for problem, layout in product(of_networks(1), ("NHWC", "NCHW")):
        yield problem.with_layout(layout), "forward", True


def seconds(kernel: Kernel, problem: Conv, prepared: bool, operands: Operands) -> float | None:
    """Of a public call: weights packed and, where the kernel takes another layout, images converted in it.

    prepared: of a plan's call; None where that takes another layout
    """
    case = Case("conv", kernel.direction, problem, "", packed=prepared)
    with fc.use(threads=1, target="cpu"):
        made = entry(case, operands, 1, problem.layout, kernel.algorithm, public=not prepared)
        if made is None:
            return None
        count = calls_for(made.call, SAMPLE)
        return median(repeat(made.call, count) for _ in range(3))


def rows(count: int | None) -> Iterator[Row]:
    """Every kernel on every problem, but for those that are hopeless by the present model."""
    for problem, direction, prepared in islice(questions(), count):
        operands = Operands(Case("conv", direction, problem.with_layout("NHWC"), ""))
        able = [
            kernel
            for kernel in kernels("conv", direction)
            if kernel.target == "cpu" and kernel.algorithm in model.WORK and not kernel.refuses(problem)
        ]
        times = {kernel: kernel.predicted(problem, prepared) for kernel in able}
        limit = HOPELESS * min((time for time in times.values() if time is not None), default=0.0)
        for kernel, time in times.items():
            if time is None or time <= limit:
                taken = seconds(kernel, problem, prepared, operands)
                if taken is not None:
                    yield Row(kernel, problem, prepared, taken)


def fitted(kernel: Kernel, found: list[Row], least: Mapping[Question, float]) -> dict[str, float]:
    """Nanoseconds of each of the kernel's units; least: seconds of the fastest kernel for each question."""
    counting = model.with_costs(kernel, {})
    amounts = [counting.amounts(row.problem, row.prepared) or {} for row in found]
    units = list(dict.fromkeys(unit for amount in amounts for unit in amount))
    # Each row divided by its time: what is least is the sum of squares of relative errors.  Errors where a kernel is far from
    # being chosen count less.
    weights = np.array([sqrt(least[row.question] / row.seconds) for row in found])
    matrix = np.array(
        [[amount.get(unit, 0) / row.seconds for unit in units] for amount, row in zip(amounts, found, strict=True)]
    )
    scale = matrix.max(axis=0)
    costs, _ = nnls(weights[:, None] * matrix / scale, weights)
    return {unit: float(f"{cost * 1e9:.4g}") for unit, cost in zip(units, costs / scale, strict=True)}


def all_fitted(measured: list[Row]) -> dict[str, dict[str, float]]:
    """Of every kernel that was measured."""
    least: dict[Question, float] = {}
    for row in measured:
        least[row.question] = min(row.seconds, least.get(row.question, inf))
    by_kernel = groupby(sorted(measured, key=lambda row: row.kernel.name), key=lambda row: row.kernel.name)
    found = {name: list(group) for name, group in by_kernel}
    return {name: fitted(own[0].kernel, own, least) for name, own in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--limit", type=int, help="only so many shapes")
    parser.add_argument("--keep", action="store_true", help="fit nothing: tell how the costs as they are choose here")
    arguments = parser.parse_args()
    measured = list(rows(arguments.limit))
    costs = model.COSTS if arguments.keep else all_fitted(measured)
    choices = list(compared(measured, costs))
    regrets = [choice["regret"] for choice in choices]
    good = sum(regret <= 1.1 for regret in regrets)
    print(f"regret: geomean {geometric_mean(regrets):.3f}, worst {max(regrets):.2f}, within 10%: {good} of {len(regrets)}")
    if arguments.limit is not None:
        print(json.dumps(costs, indent=1))
        return
    print(record.write("choices", 1, {"rows": choices}))
    if not arguments.keep:
        COSTS.write_text(json.dumps({**circumstances(), "nanoseconds": costs}, indent=1) + "\n")


def compared(measured: list[Row], costs: Mapping[str, Mapping[str, float]]) -> Iterator[dict[str, Any]]:
    """For each question: what is chosen by prediction, what is best, and how much longer the choice takes."""
    for (problem, direction, prepared), group in groupby(measured, key=lambda row: row.question):
        times = {row.kernel.algorithm: row.seconds for row in group}
        able = [
            model.with_costs(kernel, costs[kernel.name])
            for kernel in kernels("conv", direction)
            if kernel.target == "cpu" and kernel.algorithm in times and not kernel.declines(problem)
        ]
        chosen, best = fastest(able, problem, prepared).algorithm, min(times, key=times.__getitem__)
        yield {
            "problem": written(problem),
            "direction": direction,
            "prepared": prepared,
            "chosen": chosen,
            "best": best,
            "regret": round(times[chosen] / times[best], 3),
            "microseconds": {algorithm: round(taken * 1e6, 1) for algorithm, taken in times.items()},
        }


if __name__ == "__main__":
    main()
