"""What the rows of a session say, in the terms in which they are shown."""

from __future__ import annotations

from math import prod
from typing import Any

Row = dict[str, Any]


def by_suite(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows that were measured, each suite's together."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if ours(row):
            found.setdefault(row["suite"], []).append(row)
    return found


GPU, MOVED = "fastconv cuda", "fastconv cuda, there and back"
"""What the names of ours on a GPU begin with; and the one with its arrays on the host before and after."""


def ours(row: Row) -> dict[str, float]:
    """Seconds of our kernels on the CPU; of calls, where there are no others; else of a GPU's."""
    times = {name: seconds for name, seconds in row["seconds"].items() if name.startswith("fastconv")}
    on_cpu = {name: seconds for name, seconds in times.items() if not name.startswith(GPU)}
    return {name: seconds for name, seconds in on_cpu.items() if " call" not in name} or on_cpu or times


def on_gpu(row: Row) -> float | None:
    """Seconds of the fastest of ours on a GPU, its arrays there; None: none was measured."""
    times = [taken for name, taken in row["seconds"].items() if name.startswith(GPU) and name != MOVED]
    return min(times, default=None)


def transfer(row: Row) -> float | None:
    """Seconds that arrays take to a GPU and back; None: that was not measured."""
    gpu, moved = on_gpu(row), row["seconds"].get(MOVED)
    return None if gpu is None or moved is None else max(0.0, moved - gpu)


def best(row: Row) -> str:
    """The fastest of ours."""
    times = ours(row)
    return min(times, key=times.__getitem__)


def kernel(row: Row) -> str:
    """What computes it, without the operator and the direction."""
    name: str = row["kernels"].get(best(row), "")
    return name.partition("__")[2] or best(row)


def ratios(row: Row) -> dict[str, float]:
    """Each peer's time over ours, both in their best form."""
    least = ours(row)[best(row)]
    peers: dict[str, float] = {}
    for name, seconds in row["seconds"].items():
        if not name.startswith("fastconv"):
            peer = name.split()[0]
            peers[peer] = min(seconds / least, peers.get(peer, float("inf")))
    return peers


def work(row: Row) -> tuple[float, str]:
    """(a second's work in units of 10^9, the unit)."""
    seconds = ours(row)[best(row)]
    if "copy" in row or not row.get("flops"):
        return row.get("bytes", 0) / seconds / 1e9, "GB/s"
    return row["flops"] / seconds / 1e9, "GFLOP/s"


def share(row: Row) -> float | None:
    """Of the roofline; None: it is not known where that is."""
    return row["roof"] / ours(row)[best(row)] if "roof" in row else None


def mean(values: list[float]) -> float:
    """The geometric mean."""
    return prod(values) ** (1 / len(values))
