"""Whether a measurement was disturbed: by other processes, by a clock that drifts, or by what nobody knows."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter
from typing import Any

from . import roofline
from .workers import NOISY

BUSY = 0.5
"""Processes that want to run, on average over the last minute, before anything is measured."""
TAKEN = 0.25
"""Cores that others may use beside a measurement, as long as there are cores enough for both."""
SLOWED = 0.85
"""Of what the machine multiplied at best with as many threads in the same session."""
SHARED = 0.5
"""Of what it copied: on virtual machines memory is shared with others, and differs from second to second."""
PROC = Path("/proc")


def busy() -> str:
    """What keeps the cores from this process; empty: nothing that is known."""
    if not hasattr(os, "getloadavg"):
        return ""
    load = os.getloadavg()[0]
    return f"about {load:.1f} other processes were running when it began" if load > BUSY else ""


class Guard:
    """Looks at the rows of a session one after the other, and at what other processes did meanwhile."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, int], float] = {}
        self._before = perf_counter(), others()

    def disturbance(self, row: dict[str, Any]) -> str:
        """What disturbed ``row``; empty: nothing did."""
        busy = self._cores_of_others()
        if busy > TAKEN and busy + row["threads"] > (os.cpu_count() or 1) + TAKEN:
            return f"other processes kept {busy:.1f} cores busy"
        for ceiling, what, least in (("peak", "multiplies", SLOWED), ("copy", "copies", SHARED)):
            if (rate := row.get(ceiling)) is not None:
                key = ceiling, row["threads"]
                highest = self._highest[key] = max(rate, self._highest.get(key, 0.0))
                if rate < least * highest:
                    return f"the machine {what} at {rate / highest:.0%} of its best speed in this session"
        ours = {name: seconds for name, seconds in row["seconds"].items() if name.startswith("fastconv")}
        if (spread := max((row["spread"][name] for name in ours), default=0.0)) > NOISY:
            return f"samples of ours differ by {spread:.0%}"
        by_definition = [seconds for name, seconds in ours.items() if not roofline.multiplies_less(row, name)]
        if by_definition and (share := row.get("roof", 0.0) / min(by_definition)) > roofline.EXCEEDED:
            return f"at {share:.0%} of the roof, which must have been measured too low"
        return ""

    def _cores_of_others(self) -> float:
        """How many they used since this was asked last."""
        (then, used), now = self._before, (perf_counter(), others())
        self._before = now
        return (now[1] - used) / max(now[0] - then, 1e-3)


def others() -> float:
    """Seconds of processors that other processes have used since the system began; 0: it does not say."""
    try:
        ticks = os.sysconf("SC_CLK_TCK")
        user, nice, system, _idle, _waiting, *interrupts = map(int, (PROC / "stat").read_text().split("\n")[0].split()[1:9])
        used = (user + nice + system + sum(interrupts)) / ticks
        own = os.times()
        return used - sum(own[:4]) - sum(map(_of_child, PROC.glob("[0-9]*/stat"))) / ticks
    except (AttributeError, OSError, ValueError):
        return 0.0


def _of_child(stat: Path) -> int:
    """Ticks of a process, if it is a child of this one."""
    try:
        _state, parent, *fields = stat.read_text().rpartition(")")[2].split()
    except (OSError, ValueError):  # it has ended
        return 0
    return sum(map(int, fields[9:13])) if int(parent) == os.getpid() else 0
