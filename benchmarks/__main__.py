"""``python -m benchmarks``: measure everything and write RESULTS.md; with a filter, measure that and only print it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from fastconv.bench import ceilings, suites
from fastconv.bench.cases import READERS, Case
from fastconv.bench.suites import SUITES, Suite
from fastconv.bench.text import line
from fastconv.errors import ArgumentError, FastconvError

from . import record, results
from .families import FAMILIES, KERNELS, mean

FILTERS = ("networks", "match", "shape", "depthwise", "batch", "algorithm")


def filtered(arguments: argparse.Namespace, suite: Suite) -> tuple[Suite, list[Case]]:
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


def run(name: str, threads: int, arguments: argparse.Namespace) -> None:
    """Measure a suite, print it, and write it if it is to be kept."""
    suite, found = filtered(arguments, SUITES[name])
    unit = "memory" if suite.unit == "bytes" else "seconds"
    print(f"-- {name}, {threads} thread(s)" + (": × is the other's time over ours" if unit == "seconds" else ""), flush=True)
    began, rows = perf_counter(), []
    for row in suites.rows(found, suite, threads, arguments.rounds, arguments.seconds):
        rows.append(row)
        print(line(row, unit), flush=True)
    for family in FAMILIES:
        if arguments.algorithm and family.ours == KERNELS:
            family = replace(
                family, ours=tuple({key for row in rows for key in row.get("seconds", ()) if key.startswith("fastconv")})
            )
        if family.suite == name and (ratios := family.ratios(rows)):
            least = min(ratios, key=ratios.__getitem__)
            print(
                f"{family.name}, {threads} thread(s): geomean {mean(list(ratios.values())):.2f}, worst {ratios[least]:.2f} "
                f"({least}), {sum(ratio < 1 for ratio in ratios.values())} of {len(ratios)} below 1",
                flush=True,
            )
    print(f"-- {perf_counter() - began:.0f} s", flush=True)
    if arguments.kept:
        rates = ceilings.measured(threads).rates
        measured = {"rounds": arguments.rounds, "sample seconds": arguments.seconds, "GB/s": dict(rates)}
        print(record.write(name, threads, measured | {"rows": rows}, arguments.folder), flush=True)


def parsed(words: list[str]) -> argparse.Namespace:
    """The command line's words.

    Raises
    ------
    ArgumentError
        There is no such suite, or a number is none.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"some of {', '.join(SUITES)}")
    parser.add_argument("--networks", help="files of shapes, with commas between them")
    parser.add_argument("--match", default="", help='words that a line must have: "7x7", "1x1 s2"')
    parser.add_argument("--shape", action="append", help="a line of one's own instead of the files'; may be given again")
    parser.add_argument("--depthwise", action=argparse.BooleanOptionalAction, help="only, or no, depthwise convolutions")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--algorithm", help='ours to be measured instead of the chosen one, or "all"')
    parser.add_argument("--threads", help="1, 2, or 1,2; by default 1 with a filter, else those of each suite")
    parser.add_argument("--default-malloc", action="store_true", help="with a filter: PyTorch with the default allocator too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.03, help="of a sample")
    parser.add_argument("--folder", type=Path, help="where the JSON goes, instead of the repository's results")
    arguments = parser.parse_args(words)
    arguments.kept = not any(getattr(arguments, name) not in (None, "") for name in FILTERS)
    arguments.default_malloc |= arguments.kept
    if unknown := set(arguments.suites) - set(SUITES):
        raise ArgumentError(f"SUITE: expected some of {', '.join(SUITES)}, got {', '.join(sorted(unknown))!r}")
    if arguments.threads and not all(word.isdecimal() and int(word) for word in arguments.threads.split(",")):
        raise ArgumentError(f"threads: expected numbers with commas between them, got {arguments.threads!r}")
    if arguments.rounds < 1 or (arguments.batch or 1) < 1:
        raise ArgumentError("rounds, batch: expected at least 1")
    return arguments


def main(words: list[str]) -> None:
    """Run the command line."""
    try:
        arguments = parsed(words)
        for name in arguments.suites or SUITES:
            asked = arguments.threads or ("" if arguments.kept else "1")
            for threads in map(int, asked.split(",")) if asked else SUITES[name].threads:
                run(name, threads, arguments)
                if arguments.kept and not arguments.folder:
                    results.write()  # of what is finished, should the rest be interrupted
    except FastconvError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; suites that were finished are kept")


if __name__ == "__main__":
    main(sys.argv[1:])
