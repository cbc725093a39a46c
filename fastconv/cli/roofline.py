"""What this machine allows, for ``fastconv explain --roofline``."""

from __future__ import annotations

from functools import cache

from fastconv.bench import ceilings
from fastconv.explanation import Explanation


def told(explanation: Explanation, threads: int) -> str:
    """The least time that the explained problem can take here, by its definition, and what it is bound by."""
    limits = _measured(threads)
    work = {"flops": explanation.flops, "bytes": explanation.bytes}
    row = {**work, "threads": threads, "peak": limits.peak}
    least, moved = limits.least_seconds(row), limits.least_seconds({**row, "flops": None})
    if least is None:
        return "  roofline: it has neither multiplications nor bytes that are known"
    bound = "multiplications" if least != moved else "bytes"
    measured = next((answer.measured for answer in explanation.walk if answer.name == explanation.chosen), None)
    position = f"; it has been measured at {least / measured:.0%} of that speed" if measured else ""
    return f"  roofline: no less than {least * 1e6:,.1f} µs on {threads} thread(s), bound by its {bound}{position} ({limits})"


@cache
def _measured(threads: int) -> ceilings.Ceilings:
    """Now, once."""
    return ceilings.measured(threads)
