"""What the machine can do at most, measured before anything else: multiply-adds, and bytes in each cache and in memory.

A ceiling is the best of all samples.  They are taken until two agree, for the best of a busy moment is no ceiling.  A cache
that then looks slower than what lies outside it has been disturbed all the time, and is taken to be as fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import roofline
from .contestants import Contestant
from .contestants.sizes import places
from .workers import Field

PEAK = Contestant("FMA peak", "ceiling")
COPY = Contestant("copy", "ceiling", {"copied": "memory"})

ROUNDS, SECONDS = 3, 0.02
AGREE = 0.03
"""By which the two best samples of a ceiling may differ."""
ATTEMPTS = 5
"""At new places in memory, until they agree."""


@dataclass(frozen=True)
class Ceilings:
    """What nothing is faster than here.

    Attributes
    ----------
    peak : float
        GFLOP/s.
    rates, in_place : mapping of str to float
        GB/s by where the bytes are, copied from one array to another, and changed in one: what is read and what is written
        both count.  A copy also fetches the lines that it then writes over.
    doubtful : tuple of str
        What has not settled.
    """

    peak: float
    rates: Mapping[str, float]
    in_place: Mapping[str, float]
    doubtful: tuple[str, ...] = ()

    def least_seconds(self, row: Mapping[str, Any]) -> float | None:
        """See ``roofline.least_seconds``."""
        return roofline.least_seconds(row, self.in_place if row.get("in_place") else self.rates)

    def __str__(self) -> str:
        rates = ", ".join(f"{place} {rate:.0f} ({self.in_place[place]:.0f})" for place, rate in self.rates.items())
        doubt = f"; the machine is busy, and {' and '.join(self.doubtful)} may be too low" if self.doubtful else ""
        return f"multiply-adds {self.peak:.0f} GFLOP/s; GB/s copied (changed in place): {rates}{doubt}"


def measured(threads: int) -> Ceilings:
    """Of as many threads."""
    names = [place.name for place in places(threads)]
    moving = [Contestant(f"{name} {how}", "ceiling", {how: name}) for how in ("copied", "updated") for name in names]
    contestants = [PEAK, *moving]
    best: dict[str, list[float]] = {each.name: [] for each in contestants}
    with Field(contestants, threads) as field:
        for _ in range(ATTEMPTS):
            answers, samples = field.measure(None, ROUNDS, SECONDS)
            for name, taken in samples.items():
                rates = [(answers[name].flops or 0) / each / 1e9 for each in taken]
                best[name] = sorted([*best[name], *rates], reverse=True)
            if not (doubtful := tuple(name for name, rates in best.items() if _differ(rates))):
                break
    peak, *found = (round(rates[0], 1) for rates in best.values())
    copied, updated = (
        dict(zip(names, _inner_first(rates), strict=True)) for rates in (found[: len(names)], found[len(names) :])
    )
    return Ceilings(peak, copied, updated, doubtful)


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
