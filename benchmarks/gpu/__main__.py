"""``python -m benchmarks.gpu``: kernels for CUDA on a GPU, verified in float64, then timed against cuBLAS, cuDNN and CuPy.

Times are the device's, between events, with its level-2 cache flushed; "transferred" is a public call of NumPy's arrays, there
and back, by the host's clock, as epochs of MNIST are.  Kernels are compared with what rounds products alike.  All are built
first, by as many processes as there are cores; one that then fails is reported, and the others go on.  Results go to
``benchmarks/results/gpu.json``.  In the simulator (NUMBA_ENABLE_CUDASIM=1) the smallest cases go through it all, and nothing
is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, time

from benchmarks import record
from fastconv.bench.circumstances import circumstances
from fastconv.devices import cuda_status, simulated
from fastconv.functional import ceilings, rehearsal

from . import bars, flow, training
from .flow import Row
from .measure import CEILINGS, Ceiling, Item, share
from .sizes import large, tiny
from .timing import clock


def items(match: str) -> list[flow.Item]:
    """What is measured: for each case the kernels that compute it, or those that would be chosen for it; training."""
    found: list[flow.Item] = [Ceiling(what) for what in ceilings.ON_DEVICE]
    found += [Item(case, kernel) for case in (tiny() if simulated() else large()) for kernel in case.measured()]
    if not simulated():
        found.append(training.Item())
    return [item for item in found if match in "{suite} {kernel} {case}".format(**item.about)]


def built(chosen: list[flow.Item]) -> float:
    """Compile what the items start; how many seconds that took."""
    began = perf_counter()
    (architecture,) = rehearsal.architectures(None)
    kernels = {kernel: None for item in chosen for kernel in rehearsal.rehearse(item.start, architecture)}
    with rehearsal.building([(kernel, architecture) for kernel in kernels]) as done:
        for count, _ in enumerate(done, 1):
            print(f"\r{count} of {len(kernels)} kernels are built", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return perf_counter() - began


def line(row: Row, rows: list[Row]) -> str:
    """A row for people; ``rows`` are those so far."""
    name = f"{row['kernel']:44} {row['case']:28}"
    for what in ("wrong", "failed"):
        if what in row:
            return f"{name} {what.upper()}: {row[what]}"
    if simulated():
        return f"{name} right"
    if row["suite"] == "training":
        return f"{name} {training.line(row)}"
    times = row["seconds"]
    others = [f"{times[peer] / times['fastconv']:.2f} x {peer}" for peer in ("torch", "cupy") if peer in times]
    rates = "".join(f" {row[unit]:8.1f} {unit}" for unit in ("TFLOP/s", "GB/s") if unit in row)
    if (reached := share(row, rows)) is not None and row["suite"] != CEILINGS:
        rates += f" {reached:4.0%} of the ceiling"
    return f"{name} {times['fastconv'] * 1e6:10.1f} µs{rates}  {', '.join(others)}"


def rows_of(arguments: argparse.Namespace, until: float) -> Iterator[Row]:
    """In the simulator measured here, else by workers."""
    if simulated():
        yield from (flow.attempted(item, clock(), 1) for item in items(arguments.match))
        return
    asked = ["--match", arguments.match, "--rounds", str(arguments.rounds), "--until", str(until)]
    yield from flow.led(lambda first: [sys.executable, "-m", "benchmarks.gpu", *asked, "--worker", str(first)])


def main(words: list[str]) -> int:
    """The exit status: 1 if a result is wrong or missing, 2 if there is no device."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--match", default="", help="only what has this in its suite, its kernel's name or its case")
    parser.add_argument("--rounds", type=int, default=15, help="samples of each call (default: 15)")
    parser.add_argument("--minutes", type=float, default=7.0, help="begin no kernel after so long (default: 7)")
    parser.add_argument("--out", type=Path, default=record.RESULTS / "gpu.json", help="where results are written")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if not cuda_status().available:
        print(f"no GPU: {cuda_status().reason}", file=sys.stderr)
        return 2
    if arguments.worker is not None:
        return flow.work(items(arguments.match), arguments.worker, arguments.until, clock(), arguments.rounds)
    until = time() + 60 * arguments.minutes
    seconds = 0.0 if simulated() else built(items(arguments.match))
    rows: list[Row] = []
    late: list[str] = []
    for row in rows_of(arguments, until):
        if "late" in row:
            late += row["late"]
            continue
        rows.append(row)
        print(line(row, rows), flush=True)
    if late:
        print(f"not measured, the time was up: {', '.join(late)}")
    if not simulated():
        print(*bars.lines(rows), sep="\n")
        about = {**circumstances(), **clock().about, "built s": seconds}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({**about, "late": late, "bars": bars.table(rows), "rows": rows}, indent=1) + "\n")
        print(arguments.out)
    return int(any("wrong" in row or "failed" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
