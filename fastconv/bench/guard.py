"""Whether a measurement was disturbed: by other processes, or by a clock that drifts."""

from __future__ import annotations

import os
from typing import Any

BUSY = 0.5
"""Processes that want to run, on average over the last minute, before anything is measured."""
NOISY = 0.25
"""Of the median, by which samples of the same call may differ."""
SLOWED = 0.85
"""Of what the machine did at best with as many threads in the same session."""


def busy() -> str:
    """What keeps the cores from this process; empty: nothing that is known."""
    if not hasattr(os, "getloadavg"):
        return ""
    load = os.getloadavg()[0]
    return f"about {load:.1f} other processes were running when it began" if load > BUSY else ""


class Guard:
    """Looks at the rows of a session one after the other."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, int], float] = {}

    def disturbance(self, row: dict[str, Any]) -> str:
        """What disturbed ``row``; empty: nothing did."""
        for ceiling, what in (("peak", "multiplies"), ("copy", "copies")):
            if (rate := row.get(ceiling)) is not None:
                key = ceiling, row["threads"]
                highest = self._highest[key] = max(rate, self._highest.get(key, 0.0))
                if rate < SLOWED * highest:
                    return f"the machine {what} at {rate / highest:.0%} of its best speed in this session"
        spread = max((value for name, value in row.get("spread", {}).items() if name.startswith("fastconv")), default=0.0)
        return f"samples of ours differ by {spread:.0%}" if spread > NOISY else ""
