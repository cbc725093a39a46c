"""``python -m benchmarks``: measure everything and write RESULTS.md; with a filter, measure that and print it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from math import prod
from typing import Any

from fastconv.errors import ArgumentError

from . import suites
from .cases import READERS, Case
from .suites import SUITES, Suite

PEERS = {each.name for each in suites.TORCH} | {"torch"}


def told(arguments: argparse.Namespace, suite: Suite) -> tuple[Suite, list[Case]]:
    """The suite and its cases as the filters leave them."""
    if arguments.networks:
        suite = replace(suite, files=suites.named(suite.operator, tuple(arguments.networks.split(","))))
    if arguments.batch:
        suite = replace(suite, batch=arguments.batch)
    if arguments.algorithm:
        suite = suites.with_algorithm(suite, arguments.algorithm)
    if not arguments.default_malloc:
        suite = suites.without_default_malloc(suite)
    if arguments.shape:
        read = READERS[suite.operator][1]
        return suite, [Case(suite.operator, suite.direction, read(text), text, (), suite.packed) for text in arguments.shape]
    found = [case for case in suite.cases() if all(word in case.text.split() for word in arguments.match.split())]
    return suite, [case for case in found if arguments.depthwise in (None, case.depthwise)]


def ours(row: dict[str, Any]) -> tuple[str, float]:
    """Our best kernel and its seconds."""
    times = {name: taken for name, taken in row["seconds"].items() if name.startswith("fastconv") and " call" not in name}
    name = min(times, key=times.__getitem__)
    return name, times[name]


def show(row: dict[str, Any]) -> str:
    """A row in a line: what was fastest of ours, and how many times as long each other takes."""
    networks = ",".join(f"{name}×{count}" for name, count in row["occurs"].items())
    failures = "".join(f"\n    {name} FAILED: {text}" for name, text in row.get("failed", {}).items())
    try:
        best, taken = ours(row)
    except ValueError:
        return f"{row['case']}  {networks}  nothing of ours{failures}"
    rate = row["flops"] / taken / 1e9
    share = f" {rate / row['peak']:4.0%} of peak" if "peak" in row else ""
    others = "  ".join(f"{name} {other / taken:.2f}" for name, other in row["seconds"].items() if name != best)
    kernel = row["kernels"][best].partition("__")[2]
    return f"{row['case']:38} {kernel:20} {taken * 1e6:9.1f} µs {rate:6.1f} GF/s{share} | {others} | {networks}{failures}"


def summary(name: str, ratios: list[float]) -> str:
    """Of the ratios of a family."""
    below = sum(ratio < 1 for ratio in ratios)
    return (
        f"{name}: geomean {prod(ratios) ** (1 / len(ratios)):.2f}, worst {min(ratios):.2f}, {below} of {len(ratios)} below 1"
    )


def run(name: str, threads: int, arguments: argparse.Namespace) -> None:
    """Measure a suite and print it."""
    suite, found = told(arguments, SUITES[name])
    ratios: dict[str, list[float]] = {}
    print(f"-- {name}, {threads} thread(s): × is the other's time over ours")
    for row in suites.rows(found, suite, threads, arguments.rounds, arguments.seconds):
        print(show(row), flush=True)
        theirs = [taken for who, taken in row["seconds"].items() if who in PEERS]
        if theirs and any(who.startswith("fastconv") for who in row["seconds"]):
            ratios.setdefault("depthwise " * row.get("depthwise", False) + name, []).append(min(theirs) / ours(row)[1])
    for family, values in ratios.items():
        print(summary(f"{family}, {threads} thread(s), against torch's better layout", values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"some of {', '.join(SUITES)}")
    parser.add_argument("--networks", help="files of shapes, with commas between them")
    parser.add_argument("--match", default="", help='words that a line must have: "7x7", "1x1 s2"')
    parser.add_argument("--shape", action="append", help="a line of one's own instead of the files'; may be given again")
    parser.add_argument("--depthwise", action=argparse.BooleanOptionalAction, help="only, or no, depthwise convolutions")
    parser.add_argument("--threads", default="1", help="1, 2, or 1,2")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--algorithm", help='ours to be measured instead of the chosen one, or "all"')
    parser.add_argument("--default-malloc", action="store_true", help="PyTorch with the default allocator too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.03, help="of a sample")
    arguments = parser.parse_args()
    try:
        if unknown := set(arguments.suites) - set(SUITES):
            raise ArgumentError(f"SUITE: expected some of {', '.join(SUITES)}, got {', '.join(sorted(unknown))!r}")
        for name in arguments.suites or SUITES:
            for threads in map(int, arguments.threads.split(",")):
                run(name, threads, arguments)
    except ArgumentError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
