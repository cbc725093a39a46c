"""``fastconv bench``."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastconv import dispatch
from fastconv.bench import comparison, guard, report, session
from fastconv.bench.ceilings import Limits
from fastconv.bench.circumstances import circumstances
from fastconv.bench.text import FEWER, line
from fastconv.devices import cuda_status
from fastconv.errors import ArgumentError

from .report import check_file, check_json, say, write_file, write_json

WRONG, SLOWER = 1, 1


def bench(arguments: Namespace) -> int:
    """Measure, print a row for each case, and keep the rows; or compare two sessions."""
    if arguments.compare:
        return _compare(*arguments.compare)
    request = _request(arguments)
    todo = session.parts(request)
    if arguments.json:
        check_json(arguments.json)
    if arguments.report:
        check_file("--report", arguments.report)
        report.check_available()
    for peer in request.missing:
        say(f"{peer} is not installed and left out")
    if disturbed := guard.busy():
        say(f"the machine is busy: {disturbed}; ratios are worth more than times")
    rows: list[session.Row] = []
    limits = Limits(request.precision or "fp32")
    try:
        for told in limits.measure(list(dict.fromkeys(part.threads for part in todo)), request.targets):
            print(told, flush=True)
        _measure(todo, request.quick, rows, limits)
    finally:  # what was measured until an interruption is kept
        result = {**circumstances(), **limits.kept(), "rows": rows}
        if arguments.json:
            write_json(arguments.json, result)
        if arguments.report:
            write_file("--report", arguments.report, report.page(result).encode())
    wrong = [f"{row['case']}: {name}" for row in rows for name in row.get("failed", {}) if name.startswith("fastconv")]
    for each in wrong:
        say(f"WRONG, and not timed: {each}")
    return WRONG if wrong else 0


def _request(arguments: Namespace) -> session.Request:
    operators = tuple(session.OPERATORS) if arguments.what == "all" else (arguments.what,)
    if arguments.shapes and len(operators) > 1 and not all(_is_name(shape) for shape in _words(arguments.shapes)):
        raise ArgumentError("--shapes: expected names of networks for all, a file or a shape only for one of conv, pool, …")
    threads = tuple(map(int, arguments.threads.split(","))) if arguments.threads else (dispatch.all_threads(),)
    return session.Request(
        operators,
        tuple(_words(arguments.shapes)),
        (arguments.direction,) if arguments.direction else (),
        arguments.algorithm,
        _targets(arguments.targets),
        arguments.precision,
        tuple(_words(arguments.against)),
        threads,
        arguments.batch,
        arguments.quick,
    )


def _targets(asked: str) -> tuple[str, ...]:
    """Where ours run: of several places those that are there, with a line for each that is not."""
    targets = tuple(_words(asked))
    if "cuda" in targets and len(targets) > 1 and not (status := cuda_status()).available:
        say(f"cuda is left out: {status.reason}")
        return tuple(target for target in targets if target != "cuda")
    return targets


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _is_name(shape: str) -> bool:
    return shape.replace("-", "").isalnum()


def _measure(todo: list[session.Part], quick: bool, rows: list[session.Row], limits: Limits) -> None:
    """Append the rows to ``rows`` as they come, and print them."""
    watching = guard.Guard()
    with _progress(sum(len(part.cases) for part in todo)) as advance:
        for part in todo:
            print(f"-- {part.operator} {part.suite.direction}, {part.threads} thread(s): x is the other's time over ours")
            for row in session.rows(part, quick):
                limits.place(row)
                if disturbance := watching.disturbance(row):
                    row["disturbed"] = disturbance
                rows.append(row)
                print(line(row, "seconds") + (f"  ! {disturbance}" if disturbance else ""), flush=True)
                advance()
    if any(FEWER in line(row, "seconds") for row in rows):
        print(f"{FEWER}: multiplications are the definition's; Winograd's kernels have fewer, and can be faster than the roof")
    if disturbed := sum("disturbed" in row for row in rows):
        say(f"{disturbed} of {len(rows)} rows were disturbed, by other processes or by a clock that drifts")


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar with the time that is left, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


def _compare(before: str, after: str) -> int:
    """Print what changed beyond noise."""
    sessions = [comparison.read(before), comparison.read(after)]
    if not comparison.compared(*sessions):
        raise ArgumentError(f"--compare: {before} and {after} have no case in common")
    quiet = comparison.undisturbed(*sessions)
    if left_out := len(sessions[1]) - len(quiet[1]):
        say(f"{left_out} of {len(sessions[1])} rows are not compared: they were disturbed when they were measured")
    if not (changes := comparison.compared(*quiet)):
        raise ArgumentError(f"--compare: every case that {before} and {after} have in common was disturbed: measure again")
    for change in sorted(changes, key=lambda change: -min(change.ratios)):
        if change.slower or change.faster:
            verdict, ratio = ("SLOWER", min(change.ratios)) if change.slower else ("faster", max(change.ratios))
            print(f"{verdict}: {ratio:.2f} times as long (noise {change.noise:.0%})  {change.name}")
    slower = sum(change.slower for change in changes)
    kernels = sum(change.whole for change in changes)
    told = f"{kernels} kernel(s) compared, {len(changes) - kernels} times"
    print(f"{told}: {slower} slower, {sum(change.faster for change in changes)} faster")
    return SLOWER if slower else 0
