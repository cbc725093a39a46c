"""What the machine can do at most, measured before anything else: multiply-adds, and copies in each cache and in memory.

A ceiling is the best of all samples.  They are taken until two agree, for the best of a busy moment is no ceiling.  A cache
that then looks slower than what lies outside it has been disturbed all the time, and is taken to be as fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .contestants import Contestant
from .contestants.sizes import places
from .workers import Field

PEAK = Contestant("FMA peak", "ceiling")
COPY = Contestant("copy", "ceiling", {"copied": "memory"})

ROUNDS, SECONDS = 3, 0.03
AGREE = 0.03
"""By which the two best samples of a ceiling may differ."""
ATTEMPTS = 5
"""At new places in memory, until they agree."""


@dataclass(frozen=True)
class Ceilings:
    """GFLOP/s multiplied, GB/s copied by where (what is read and what is written both count), and what did not settle."""

    peak: float
    rates: Mapping[str, float]
    doubtful: tuple[str, ...] = ()

    def __str__(self) -> str:
        rates = ", ".join(f"{place} {rate:.0f} GB/s" for place, rate in self.rates.items())
        doubt = f"; the machine is busy, and {' and '.join(self.doubtful)} may be too low" if self.doubtful else ""
        return f"multiply-adds {self.peak:.0f} GFLOP/s; copying in {rates}{doubt}"


def measured(threads: int) -> Ceilings:
    """Of as many threads."""
    contestants = [PEAK, *(Contestant(place.name, "ceiling", {"copied": place.name}) for place in places(threads))]
    best: dict[str, list[float]] = {each.name: [] for each in contestants}
    with Field(contestants, threads) as field:
        for _ in range(ATTEMPTS):
            answers, samples = field.measure(None, ROUNDS, SECONDS)
            for name, taken in samples.items():
                rates = [(answers[name].flops or 0) / each / 1e9 for each in taken]
                best[name] = sorted([*best[name], *rates], reverse=True)
            if not (doubtful := tuple(name for name, rates in best.items() if _differ(rates))):
                break
    peak, *copied = (round(rates[0], 1) for rates in best.values())
    return Ceilings(peak, dict(zip(list(best)[1:], _inner_first(copied), strict=True)), doubtful)


def _differ(best: list[float]) -> bool:
    return best[1] < (1 - AGREE) * best[0]


def _inner_first(rates: list[float]) -> list[float]:
    """None slower than those behind it."""
    return [max(rates[index:]) for index in range(len(rates))]


def beside(row: dict[str, Any], times: dict[str, float], work: Mapping[str, int | None]) -> None:
    """Move the ceilings that were measured beside a row from ``times`` to it: "peak" in GFLOP/s, "copy" in GB/s."""
    for ceiling, name in ((PEAK, "peak"), (COPY, "copy")):
        if taken := times.pop(ceiling.name, None):
            row[name] = round((work[ceiling.name] or 0) / taken / 1e9, 1)
