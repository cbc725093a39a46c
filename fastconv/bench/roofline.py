"""How near to what the machine can do: the least time that a problem's products and its bytes allow, over the time taken.

By the definition of a problem: each array comes or goes once, and every product is computed.  Winograd's kernels compute
fewer, and can be faster than that.  A benchmark calls again and again, so that arrays are found where the last call left
them: in a cache as far as they fit, the rest a level further out.  Bytes take what copying as many takes there.

Sources: Williams, Waterman & Patterson, "Roofline: An Insightful Visual Performance Model for Multicore Architectures", 2009;
a line for each cache: Ilic, Pratas & Sousa, "Cache-aware Roofline Model: Upgrading the Loft", 2014.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .contestants.sizes import places

EXCEEDED = 1.1
"""Of the roof: what no noise of a ceiling makes."""


def least_seconds(row: Mapping[str, Any], rates: Mapping[str, float]) -> float | None:
    """What nobody is faster than who computes a row's problem by the definition; None: it is not known.

    ``rates`` are GB/s of copies by where the bytes are, as ``ceilings.measured`` has them; ``row["peak"]`` are GFLOP/s.
    """
    limits = []
    if row.get("flops") and "peak" in row:
        limits.append(row["flops"] / row["peak"])
    if row.get("bytes") and rates:
        limits.append(row["bytes"] * _nanoseconds(row.get("footprint", row["bytes"]), row["threads"], rates))
    return max(limits) * 1e-9 if limits else None


def _nanoseconds(footprint: float, threads: int, rates: Mapping[str, float]) -> float:
    """Of a byte, the mean of all: what of ``footprint`` stays in each place from call to call, at that place's rate."""
    left, spent = footprint, 0.0
    for place in places(threads):
        if place.name in rates:
            here = left if place.capacity is None else min(left, place.capacity)
            spent += here / rates[place.name]
            left -= here
    return (spent + left / min(rates.values())) / footprint


def multiplies_less(row: Mapping[str, Any], name: str) -> bool:
    """Whether what computed a row has fewer products than the definition: Winograd's, and networks that use it."""
    return row["suite"] == "training" or "winograd" in row["kernels"].get(name, "")
