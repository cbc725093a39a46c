"""What this machine allows, for ``fastconv explain --roofline``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from fastconv.bench import roofline, timing
from fastconv.bench.contestants import ceiling
from fastconv.bench.contestants.sizes import COPIED
from fastconv.explanation import Explanation

SECONDS = 0.02
"""Of a measurement; the best of several is the machine's."""
ROUNDS = 5


def told(explanation: Explanation, threads: int) -> str:
    """The least time that the explained problem can take here, by its definition, and what it is bound by."""
    peak, rates = ceilings(threads)
    work = {"flops": explanation.flops, "bytes": explanation.bytes}
    row = {**work, "threads": threads, "peak": peak}
    least, moved = roofline.least_seconds(row, rates), roofline.least_seconds({**row, "flops": None}, rates)
    if least is None:
        return "  roofline: it has neither multiplications nor bytes that are known"
    bound = "multiplications" if least != moved else "bytes"
    copies = ", ".join(f"{place} {rate:.0f}" for place, rate in rates.items())
    ceiling_now = f"{peak:.0f} GFLOP/s, copies in GB/s: {copies}"
    return f"  roofline: no less than {least * 1e6:,.1f} µs on {threads} thread(s), bound by its {bound} ({ceiling_now})"


@cache
def ceilings(threads: int) -> tuple[float, dict[str, float]]:
    """(GFLOP/s, GB/s by where the bytes are), measured now."""
    return _rate(ceiling.peak(threads)), {place: _rate(ceiling.copies(threads, place)) for place in COPIED}


def _rate(work: tuple[Callable[[], object], int]) -> float:
    """10^9 a second."""
    call, amount = work
    calls = timing.calls_for(call, SECONDS)
    return amount / min(timing.repeat(call, calls) for _ in range(ROUNDS)) / 1e9
