"""``python -m benchmarks.gpu``: kernels for CUDA on a GPU, verified in float64, then timed against cuBLAS, cuDNN and CuPy.

Times are the device's, between events, with its level-2 cache flushed; "transferred" is a public call of NumPy's arrays, there
and back, by the host's clock, as epochs of MNIST are.  Kernels are compared with what rounds products alike.  Results go to
``benchmarks/results/gpu.json``.  In the simulator (NUMBA_ENABLE_CUDASIM=1) the smallest cases go through it all, and nothing
is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import fastconv as fc
from benchmarks import record
from fastconv import data
from fastconv.bench.circumstances import circumstances
from fastconv.devices import cuda_status, simulated
from fastconv.dispatch import Kernel

from . import peers, training
from .cases import Case, OnDevice
from .sizes import large, tiny
from .timing import HostClock, clock, interleaved

Row = dict[str, Any]


def measured(case: Case, clock: HostClock, rounds: int, match: str) -> Iterator[Row]:
    """A row for each kernel that computes a case: its error, its time and those of its peers."""
    kernels = [kernel for kernel in case.kernels() if match in f"{kernel.name} {case.label}"]
    if not kernels:
        return
    expected = case.truth()
    for kernel in kernels:
        yield _row(case, kernel, clock, rounds, expected)


def _row(case: Case, kernel: Kernel, clock: HostClock, rounds: int, expected: list[Any]) -> Row:
    began = perf_counter()
    ours = OnDevice(case, kernel)
    ours()
    results = ours.results()
    row: Row = {"kernel": kernel.name, "case": case.label, "precision": kernel.precision}
    row["compiled s"] = perf_counter() - began
    row["error"] = max(float(np.abs(got - truth).max(initial=0)) for got, truth in zip(results, expected, strict=True))
    if wrong := case.wrong(kernel, results, expected):
        return row | {"wrong": wrong}
    row["seconds"] = interleaved(clock, {"fastconv": ours, **peers.calls(case, kernel.precision)}, rounds)
    flop, moved = case.work()
    seconds = row["seconds"]["fastconv"]
    row |= {"TFLOP/s": flop / seconds * 1e-12, "GB/s": moved / seconds * 1e-9}
    if case.operator == "matmul":
        row["seconds"]["transferred"] = _transferred(case, kernel)
    return row


def _transferred(case: Case, kernel: Kernel) -> float:
    """Seconds of the public call, of NumPy's arrays."""
    a, b, out = case.arguments()
    times = []
    for _ in range(3):
        start = perf_counter()
        fc.matmul(a, b, out=out, target="cuda", algorithm=kernel.algorithm, precision=kernel.precision)
        times.append(perf_counter() - start)
    return min(times)


def line(row: Row) -> str:
    """A row for people."""
    name = f"{row['kernel']:44} {row['case']:28}"
    if "wrong" in row:
        return f"{name} WRONG: {row['wrong']}"
    if simulated():
        return f"{name} right"
    times = row["seconds"]
    others = [f"{times[peer] / times['fastconv']:.2f} x {peer}" for peer in ("torch", "cupy") if peer in times]
    rates = f"{times['fastconv'] * 1e6:10.1f} µs {row['TFLOP/s']:8.2f} TFLOP/s {row['GB/s']:8.1f} GB/s"
    return f"{name} {rates}  {', '.join(others)}"


def main(words: list[str]) -> int:
    """The exit status: 1 if a result is wrong, 2 if there is no device."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--match", default="", help="only what has this in its kernel's name or its case")
    parser.add_argument("--rounds", type=int, default=20, help="samples of each call (default: 20)")
    parser.add_argument("--minutes", type=float, default=8.0, help="begin no case after so long (default: 8)")
    parser.add_argument("--out", type=Path, default=record.RESULTS / "gpu.json", help="where results are written")
    arguments = parser.parse_args(words)
    if not cuda_status().available:
        print(f"no GPU: {cuda_status().reason}", file=sys.stderr)
        return 2
    began, timer, rows, late = perf_counter(), clock(), [], []
    for case in tiny() if simulated() else large():
        if perf_counter() - began > 60 * arguments.minutes:
            late.append(f"{case.operator} {case.direction} {case.label}")
            continue
        for row in measured(case, timer, 1 if simulated() else arguments.rounds, arguments.match):
            rows.append(row)
            print(line(row), flush=True)
    if late:
        print(f"not measured, the time was up: {', '.join(late)}")
    if not simulated() and arguments.match in "training mnist-cnn":
        rows.append(training.measured(data.load()))
        print(training.line(rows[-1]), flush=True)
    if not simulated():
        result = {**circumstances(), **timer.about, "copied GB/s": timer.bandwidth() * 1e-9, "late": late, "rows": rows}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
        print(arguments.out)
    return int(any("wrong" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
