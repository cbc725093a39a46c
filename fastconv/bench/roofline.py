"""How near to what the machine can do: the least time that a problem's products and its bytes allow, over the time taken.

By the definition of a problem: each array comes or goes once, from where it is found again in the next call, and every product
is computed.  Winograd's kernels compute fewer, and can be faster than that.

Source: Williams, Waterman & Patterson, "Roofline: An Insightful Visual Performance Model for Multicore Architectures", 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .contestants.sizes import COPIED


def least_seconds(row: Mapping[str, Any], rates: Mapping[str, float]) -> float | None:
    """What nobody is faster than who computes a row's problem by the definition; None: it is not known.

    ``rates`` are GB/s of copies by where the bytes are, as ``suites.ceilings`` measures them; ``row["peak"]`` are GFLOP/s.
    """
    limits = []
    if row.get("flops") and "peak" in row:
        limits.append(row["flops"] / row["peak"])
    if row.get("bytes") and (rate := row.get("copy") or _rate(row, rates)):
        limits.append(row["bytes"] / rate)
    return max(limits) * 1e-9 if limits else None


def _rate(row: Mapping[str, Any], rates: Mapping[str, float]) -> float | None:
    """Of the innermost place that the bytes have been copied in: read and written, by every thread."""
    for place, size in COPIED.items():
        if place in rates and (row["bytes"] <= 2 * size * row["threads"] or place == list(COPIED)[-1]):
            return rates[place]
    return None
