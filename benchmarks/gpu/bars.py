"""What is aimed at on an H200: ratios to the vendor's libraries in the same run, and shares of what its memory can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log
from typing import Any, NamedTuple

Row = dict[str, Any]

MEMORY = 4.3e12
"""Bytes a second that a copy reaches on an H200."""


class Bar(NamedTuple):
    """A figure that is aimed at: of the rows of a suite, of the kernels that round as ``precision`` says.

    ``figure`` of a row is better the larger; of a case the best kernel counts, of cases the geometric mean.
    """

    title: str
    suite: str
    precision: str
    figure: Callable[[Row], float]
    first: float
    target: float
    algorithm: str = ""

    def reached(self, rows: Sequence[Row]) -> float | None:
        """The figure; None: nothing was measured, or nothing to compare it with."""
        best: dict[str, float] = {}
        for row in rows:
            if row.get("suite") == self.suite and row["precision"] == self.precision and self.algorithm in row["kernel"]:
                value = self.figure(row) if "seconds" in row else 0.0
                case = f"{row['kernel'].partition('__')[0]} {row['case']}"
                best[case] = max(value, best.get(case, 0.0))
        if not best or not all(best.values()):
            return 0.0 if best and any("wrong" in row or "failed" in row for row in rows) else None
        return exp(sum(map(log, best.values())) / len(best))


def faster(row: Row) -> float:
    """How many times as fast as PyTorch; 0: that has not been measured."""
    seconds = row["seconds"]
    return float(seconds["torch"] / seconds["fastconv"]) if "torch" in seconds else 0.0


def of_memory(row: Row) -> float:
    """The share of the memory's bandwidth."""
    return float(row["GB/s"] * 1e9 / MEMORY)


def once_in_second(row: Row) -> float:
    """Epochs in a second."""
    return 1 / float(row["seconds"]["fastconv"])


BARS = (
    Bar("FP32 product 4096, times cuBLAS", "product 4096", "fp32", faster, 0.75, 0.95, "simt"),
    Bar("3xTF32 product 4096, times cuBLAS in FP32", "product 4096", "fp32", faster, 0.75, 1.2, "split"),
    Bar("TF32 product 8192, times cuBLAS", "product 8192", "tf32", faster, 0.6, 0.85),
    Bar("BF16 product 8192, times cuBLAS", "product 8192", "bf16", faster, 0.6, 0.85),
    *(
        Bar(f"ResNet-50 {said}, {precision.upper()}, times cuDNN", f"ResNet-50 {said}", precision, faster, first, target)
        for said, first, target in (("forward", 0.6, 0.9), ("backward", 0.5, 0.8))
        for precision in ("fp32", "tf32", "bf16")
    ),
    Bar("what memory limits, of 4.3 TB/s", "memory", "fp32", of_memory, 0.8, 0.9),
    Bar("MNIST epochs a second", "training", "fp32", once_in_second, 1.0, 1 / 0.3),
    Bar("MNIST epoch, times PyTorch's eager mode", "training", "fp32", faster, 1.0, 2.0),
)


def lines(rows: Sequence[Row]) -> list[str]:
    """A table for people."""
    found = []
    for bar in BARS:
        value = bar.reached(rows)
        said = "not measured" if value is None else f"{value:.2f}"
        found.append(f"{bar.title:48} {said:>12}   first landing {bar.first:.2f}, target {bar.target:.2f}")
    return found


def table(rows: Sequence[Row]) -> list[Row]:
    """The same for machines."""
    return [
        {"title": bar.title, "reached": bar.reached(rows), "first landing": bar.first, "target": bar.target} for bar in BARS
    ]
