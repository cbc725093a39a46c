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
    return f"  roofline: no less than {least * 1e6:,.1f} µs on {threads} thread(s), bound by its {bound} ({limits})"


@cache
def _measured(threads: int) -> ceilings.Ceilings:
    """Now, once."""
    return ceilings.measured(threads)
