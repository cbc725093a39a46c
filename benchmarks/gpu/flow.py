"""The way through a benchmark on a GPU that survives kernels which fail: the first time on hardware, some will.

A *worker*, a process of its own, measures one item after the other and prints what it begins and what it has found, a line of
JSON each.  A kernel that raises makes a row that says so.  Where it has taken the device's context with it, as an access to
memory that is nobody's does, the worker ends, and another one goes on behind that kernel; likewise where it hangs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from threading import Timer
from time import time
from typing import Any, Protocol

from .timing import HostClock

Row = dict[str, Any]

PATIENCE_S = 90
"""For one item: a barrier that is never passed is waited for no longer."""

SICK = 3
"""The exit status of a worker whose device can no longer be used."""


class Item(Protocol):
    """Something to measure."""

    @property
    def about(self) -> Row:
        """The beginning of its row: suite, kernel, case, precision."""

    def start(self) -> object:
        """Start all kernels that it needs."""

    def measured(self, clock: HostClock, rounds: int) -> Row:
        """The rest of its row."""


def attempted(item: Item, clock: HostClock, rounds: int) -> Row:
    """Its row, which says what went wrong if anything did."""
    try:
        return item.about | item.measured(clock, rounds)
    except Exception as error:  # noqa: BLE001 - whatever it was, the others are measured
        return item.about | {"failed": f"{type(error).__name__}: {error}"}


def work(items: Sequence[Item], first: int, until: float, clock: HostClock, rounds: int) -> int:
    """Measure ``items`` from ``first`` on until that time, printing rows; the exit status."""
    for place in range(first, len(items)):
        if time() > until:
            print(json.dumps({"late": [f"{item.about['kernel']} {item.about['case']}" for item in items[place:]]}), flush=True)
            break
        print(json.dumps({"begins": place, "row": items[place].about}), flush=True)
        row = attempted(items[place], clock, rounds)
        print(json.dumps({"row": row}), flush=True)
        if "failed" in row and not clock.works():
            return SICK
    return 0


def led(command: Callable[[int], list[str]], patience: float = PATIENCE_S) -> Iterator[Row]:
    """What workers print: rows, and at the end what they had no time for, as {"late": …}.

    Parameters
    ----------
    command : callable (first) -> words
        Starts a worker at an item.
    """
    first, running = 0, True
    while running:
        running, current = False, None
        with subprocess.Popen(command(first), stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            watch = _watched(worker, patience)
            for line in worker.stdout:
                watch.cancel()
                watch = _watched(worker, patience)
                said = _said(line)
                if "begins" in said:
                    first, current = said["begins"] + 1, said["row"]
                elif "row" in said:
                    current = None
                    yield said["row"]
                elif "late" in said:
                    yield said
                else:
                    print(line, end="", file=sys.stderr)
            watch.cancel()
            status = worker.wait()
        if current is not None:
            yield current | {"failed": f"the process ended with {status} or gave no answer in {patience:.0f} s"}
        running = current is not None or status == SICK


def _watched(worker: subprocess.Popen[str], patience: float) -> Timer:
    watch = Timer(patience, worker.kill)
    watch.daemon = True
    watch.start()
    return watch


def _said(line: str) -> Row:
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    return said if isinstance(said, dict) else {}
