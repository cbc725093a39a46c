"""A matrix product on one thread against the FMA peak and against NumPy: ``python -m benchmarks.gemm``.

NumPy is measured twice: as it comes, and with its OpenBLAS told that the machine has AVX-512
(``OPENBLAS_CORETYPE=SkylakeX``), which it does not find out by itself on every CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import llvmlite.binding as llvm
import numpy as np

from benchmarks import cases, peak, record
from fastconv.dispatch import Matmul

CALLS = 5
"""In a round; its median counts."""


def serve(library: str, size: int) -> None:
    """Answer each line on standard input with GFLOP/s of ``library``: what runs in a contestant's process."""
    problem = Matmul(size, size, size)
    a, b, out = cases.noise((size, size)), cases.noise((size, size)).T.copy(), np.empty((size, size), np.float32)
    if library == "peak":
        peak.measure(1)
        answer = partial(peak.measure, CALLS)
    else:
        call = np.matmul if library == "numpy" else cases.running("matmul", "forward", problem)[0].plan(problem, 1)
        call(a, b, out)
        exact = a.astype(np.float64) @ b.astype(np.float64)
        assert np.abs(out - exact).max() < 1e-5 * np.abs(exact).max(), "a wrong product"

        def answer() -> float:
            seconds = []
            for _ in range(CALLS):
                start = perf_counter()
                call(a, b, out)
                seconds.append(perf_counter() - start)
            return problem.flops / median(seconds) / 1e9

    for _ in sys.stdin:
        print(json.dumps(answer()), flush=True)


def compare(size: int, rounds: int) -> dict[str, object]:
    """GFLOP/s of each contestant, and the ratios of fastconv to them."""
    variants = {"peak": ("peak", {}), "fastconv": ("fastconv", {}), "numpy": ("numpy", {})}
    if llvm.get_host_cpu_features().get("avx512f"):
        variants["numpy SkylakeX"] = "numpy", {"OPENBLAS_CORETYPE": "SkylakeX"}
    contestants = {
        name: record.Contestant(
            "benchmarks.gemm",
            ["--serve", library, "--size", str(size)],
            {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} | environment,
        )
        for name, (library, environment) in variants.items()
    }
    rates = {name: record.summary(samples) for name, samples in record.interleaved(contestants, rounds).items()}
    ours = rates["fastconv"]["median"]
    ratios = {f"of {name}": round(ours / rate["median"], 3) for name, rate in rates.items() if name != "fastconv"}
    return {"size": size, "threads": 1, "unit": "GFLOP/s", "rates": rates, "fastconv": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the JSON goes; the repository's results unless given")
    parser.add_argument("--serve", choices=("fastconv", "numpy", "peak"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.size)
        return
    result = compare(arguments.size, arguments.rounds)
    print(json.dumps(result, indent=2))
    print(record.write("gemm", result, arguments.folder))


if __name__ == "__main__":
    main()
