"""What the machine can do at most, measured before anything else: multiply-adds, and bytes in each cache and in memory.

A ceiling is the best of all samples.  They are taken until two agree, for the best of a busy moment is no ceiling.  A cache
that then looks slower than what lies outside it has been disturbed all the time, and is taken to be as fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastconv.errors import UnsupportedError
from fastconv.functional.ceilings import ON_DEVICE

from . import roofline
from .contestants import Contestant
from .contestants.sizes import places
from .workers import Field

PEAK = Contestant("FMA peak", "ceiling")
TILE = Contestant("tile", "ceiling", {"tile": True})
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
        """See ``roofline.least_seconds``; by the best that was seen, beside the row or before it."""
        best = {**row, "peak": max(row["peak"], self.peak)} if "peak" in row else row
        return roofline.least_seconds(best, self.in_place if row.get("in_place") else self.rates)

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
    with Field(contestants, threads) as asked:
        for _ in range(ATTEMPTS):
            answers, samples = asked.measure(None, ROUNDS, SECONDS)
            for name, taken in samples.items():
                rates = [(answers[name].flops or 0) / each / 1e9 for each in taken]
                best[name] = sorted([*best[name], *rates], reverse=True)
            if not (doubtful := tuple(name for name, rates in best.items() if _differ(rates))):
                break
    peak, *found = (round(rates[0], 1) for rates in best.values())
    copied, updated = (
        dict(zip(names, _inner_first(rates), strict=True)) for rates in (found[: len(names)], found[len(names) :])
    )
    in_place = {name: max(rate, copied[name]) for name, rate in updated.items()}
    return Ceilings(peak, copied, in_place, doubtful)


@dataclass(frozen=True)
class OfDevice:
    """What nothing is faster than on the GPU: ``copy`` in GB/s, ``peaks`` in GFLOP/s by what operands are rounded to."""

    copy: float
    peaks: Mapping[str, float]

    def __str__(self) -> str:
        peaks = ", ".join(f"{name} {rate / 1e3:.1f}" for name, rate in self.peaks.items())
        return f"copying {self.copy:.0f} GB/s; multiply-adds in TFLOP/s: {peaks}"

    def least_seconds(self, row: Mapping[str, Any], precision: str) -> float | None:
        """What nobody is faster than on the GPU who computes a row's problem by the definition."""
        peak = self.peaks.get("bf16" if precision == "fp16" else precision)
        limits = [row["bytes"] / self.copy] if row.get("bytes") else []
        limits += [row["flops"] / peak] if row.get("flops") and peak else []
        return max(limits) * 1e-9 if limits else None


def of_device() -> OfDevice:
    """Of the GPU, the arrays being there."""
    with Field([Contestant(name, "ceiling", {"on_device": name}) for name in ON_DEVICE], 1) as asked:
        answers, samples = asked.measure(None, ROUNDS, SECONDS)
    if failed := [f"{name}: {answer.failed}" for name, answer in answers.items() if answer.failed]:
        raise UnsupportedError(f"the ceilings of the GPU cannot be measured: {'; '.join(failed)}")
    copy, *peaks = (float(f"{(answers[name].flops or 0) / min(samples[name]) / 1e9:.4g}") for name in ON_DEVICE)
    return OfDevice(copy, dict(zip(ON_DEVICE[1:], peaks, strict=True)))


@dataclass
class Limits:
    """The ceilings of a session: of each number of threads, and of a GPU whose operands are rounded to ``precision``."""

    precision: str = "fp32"
    of_threads: dict[int, Ceilings] = field(default_factory=dict)
    gpu: OfDevice | None = None

    def measure(self, threads: Sequence[int], targets: Sequence[str]) -> Iterator[str]:
        """Measure them one after the other, and say what was found."""
        for count in threads:
            self.of_threads[count] = measured(count)
            yield f"{count} thread{'s' * (count != 1)}: {self.of_threads[count]}"
        if "cuda" in targets:
            self.gpu = of_device()
            yield f"GPU: {self.gpu}"

    def place(self, row: dict[str, Any]) -> None:
        """Tell ``row`` the seconds that its problem takes at least: "roof", and "GPU's roof"."""
        if least := self.of_threads[row["threads"]].least_seconds(row):
            row["roof"] = least
        if self.gpu and (least := self.gpu.least_seconds(row, self.precision)):
            row["GPU's roof"] = least

    def kept(self) -> dict[str, Any]:
        """As a session's file has them."""
        found = {str(threads): each for threads, each in self.of_threads.items()}
        kept: dict[str, Any] = {
            "GFLOP/s": {threads: each.peak for threads, each in found.items()},
            "GB/s": {threads: dict(each.rates) for threads, each in found.items()},
            "GB/s in place": {threads: dict(each.in_place) for threads, each in found.items()},
        }
        return kept | ({"GPU": {"GB/s": self.gpu.copy, "GFLOP/s": dict(self.gpu.peaks)}} if self.gpu else {})


def _differ(best: list[float]) -> bool:
    return best[1] < (1 - AGREE) * best[0]


def _inner_first(rates: list[float]) -> list[float]:
    """None slower than those behind it."""
    return [max(rates[index:]) for index in range(len(rates))]


def beside(row: dict[str, Any], times: dict[str, float], work: Mapping[str, int | None]) -> None:
    """Move the ceilings that were measured beside a row from ``times`` to it: "peak" and "tile" in GFLOP/s, "copy" in GB/s."""
    for ceiling, name in ((PEAK, "peak"), (TILE, "tile"), (COPY, "copy")):
        if taken := times.pop(ceiling.name, None):
            row[name] = round((work[ceiling.name] or 0) / taken / 1e9, 1)
