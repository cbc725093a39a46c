"""Every algorithm for the layers of ``shapes/crossovers.txt``, as a caller meets it: ``python -m benchmarks.crossovers``.

One thread, weights packed in each call, layouts converted where the kernel takes another than the caller's: what decides in
which order the tables should be walked.  The constants at which kernels decline a problem cite these rows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

import fastconv as fc
from benchmarks import cases, record
from benchmarks.contestants.operands import noise
from fastconv.dispatch import Conv, kernels

CALLS = 3
"""In a sample."""


def rows(layer: str, problem: Conv, rounds: int) -> dict[str, Any]:
    """Microseconds of a forward call for each algorithm, verified against the first, taking turns."""
    x, weight = noise(problem.x_shape), noise(problem.weight_shape)
    window = {"stride": problem.stride, "padding": problem.padding, "layout": problem.layout}
    algorithms = [
        kernel.algorithm
        for kernel in kernels("conv", "forward")
        if kernel.target == "cpu" and not kernel.refuses(kernel.in_layout(problem))
    ]
    outs = {algorithm: fc.conv2d(x, weight, algorithm=algorithm, **window) for algorithm in algorithms}
    expected = outs[algorithms[0]]
    for out in outs.values():
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-4 * float(np.abs(expected).max()))
    samples: dict[str, list[float]] = {algorithm: [] for algorithm in algorithms}
    for _ in range(rounds):
        for algorithm, out in outs.items():
            start = perf_counter()
            for _ in range(CALLS):
                fc.conv2d(x, weight, algorithm=algorithm, out=out, **window)
            samples[algorithm].append((perf_counter() - start) / CALLS * 1e6)
    chosen = fc.explain(problem).chosen
    times = {algorithm: round(median(found), 1) for algorithm, found in samples.items()}
    return {"layer": layer, "layout": problem.layout, "microseconds": times, "chosen": chosen}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where the JSON goes; the repository's results unless given")
    arguments = parser.parse_args()
    found = []
    with fc.use(threads=1):
        for case in cases.cases("conv", "forward", ["crossovers"]):
            for layout in ("NCHW", "NHWC"):
                found.append(rows(f"crossovers: {case.text}", case.problem.with_layout(layout), arguments.rounds))
                print(json.dumps(found[-1]), flush=True)
    print(record.write("crossovers", {"threads": 1, "rows": found}, arguments.folder))


if __name__ == "__main__":
    main()
