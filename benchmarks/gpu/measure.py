"""One kernel on one case: verified in float64, then timed with its peers; and what no kernel surpasses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from time import perf_counter
from typing import NamedTuple

import numpy as np

import fastconv as fc
from fastconv.dispatch import Kernel
from fastconv.functional import ceilings

from . import peers
from .cases import Array, Case, OnDevice
from .flow import Row
from .timing import HostClock, interleaved

CEILINGS = "ceilings"


@lru_cache(maxsize=2)
def expected(case: Case, change: Callable[[Array], Array] = np.asarray) -> list[Array]:
    """In float64: by PyTorch on the device where it computes such a case, else by the reference."""
    found = peers.truth(case, change)
    return case.truth(change) if found is None else found


class Ceiling(NamedTuple):
    """Something that no kernel surpasses: a copy in the device's memory, or nothing but multiply-adds."""

    what: str

    @property
    def about(self) -> Row:
        precision = "fp32" if self.what == "copy" else self.what
        return {"suite": CEILINGS, "kernel": f"ceiling {self.what}", "case": "", "precision": precision}

    def start(self) -> None:
        call, _ = ceilings.on_device(self.what)
        call()

    def measured(self, clock: HostClock, rounds: int) -> Row:
        call, work = ceilings.on_device(self.what)
        seconds = interleaved(clock, {"fastconv": call}, rounds)
        unit = {"GB/s": 1e-9} if self.what == "copy" else {"TFLOP/s": 1e-12}
        return {"seconds": seconds, **{name: factor * work / seconds["fastconv"] for name, factor in unit.items()}}


def share(row: Row, rows: Sequence[Row]) -> float | None:
    """Of the ceiling that the row is nearest to; None: it is not known."""
    shares = [
        row[unit] / ceiling[unit]
        for ceiling in rows
        if ceiling.get("suite") == CEILINGS and ceiling["precision"] == row["precision"]
        for unit in ("TFLOP/s", "GB/s")
        if unit in ceiling and unit in row
    ]
    return max(shares, default=None)


class Item(NamedTuple):
    """A kernel, and what it computes."""

    case: Case
    kernel: Kernel

    @property
    def about(self) -> Row:
        case, kernel = self.case, self.kernel
        return {"suite": case.suite, "kernel": kernel.name, "case": case.label, "precision": kernel.precision}

    def start(self) -> OnDevice:
        """Its call, which has been made once."""
        call = OnDevice(self.case, self.kernel)
        call()
        return call

    def measured(self, clock: HostClock, rounds: int) -> Row:
        """Error, times of ours and of peers, rates."""
        case, kernel = self
        began = perf_counter()
        ours = self.start()
        results = ours.results()
        row: Row = {"first call s": perf_counter() - began}
        exact = expected(case)
        row["error"] = max(float(np.abs(got - truth).max(initial=0)) for got, truth in zip(results, exact, strict=True))
        if wrong := case.wrong(kernel, results, exact, lambda: expected(case, np.abs)):
            return row | {"wrong": wrong}
        row["seconds"] = interleaved(clock, {"fastconv": ours, **peers.calls(case, kernel.precision)}, rounds)
        flop, moved = case.work()
        seconds = row["seconds"]["fastconv"]
        row |= {"TFLOP/s": flop / seconds * 1e-12, "GB/s": moved / seconds * 1e-9}
        if case.operator == "matmul":
            row["seconds"]["transferred"] = self._transferred()
        return row

    def _transferred(self) -> float:
        """Seconds of the public call, of NumPy's arrays."""
        a, b, out = self.case.arguments()
        out, times = np.empty_like(out), []
        for _ in range(2):
            start = perf_counter()
            fc.matmul(a, b, out=out, target="cuda", algorithm=self.kernel.algorithm, precision=self.kernel.precision)
            times.append(perf_counter() - start)
        return min(times)
