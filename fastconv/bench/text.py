"""Rows as lines to read."""

from __future__ import annotations

from typing import Any

from . import roofline

FEWER = "of roof*"
"""What is said of kernels that multiply less than the definition."""


def line(row: dict[str, Any], unit: str) -> str:
    """A row to read: what was best of ours, and how many times as much each other needs."""
    networks = ",".join(f"{name}×{count}" for name, count in row["occurs"].items())
    failures = "".join(f"\n    {name} FAILED: {text}" for name, text in row.get("failed", {}).items())
    if unit == "memory":
        needs = "  ".join(f"{name} {taken / 2**20:.1f} MiB" for name, taken in row["memory"].items())
        return f"{row['case']:38} {needs}{failures}"
    times = row["seconds"]
    ours = [
        name for name in times if name.startswith("fastconv") and not {"call", "cuda"} & set(name.replace(",", "").split())
    ] or list(times)
    if not ours:
        return f"{row['case']}  nothing was measured{failures}"
    best = min(ours, key=times.__getitem__)
    if "copy" in row:
        rate = row["bytes"] / times[best] / 1e9
        speed = f"{rate:6.1f} GB/s"
    else:
        rate = row.get("flops", 0) / times[best] / 1e9
        speed = f"{rate:6.1f} GF/s"
    if "roof" in row:
        share = row["roof"] / times[best]
        fewer = share > 1 and roofline.multiplies_less(row, best)
        speed += f" {share:4.0%} {FEWER if fewer else 'of roof '}"
    elif ceiling := row.get("copy") or row.get("peak"):
        speed += f" {rate / ceiling:4.0%} of {'a copy' if 'copy' in row else 'peak'}"
    others = "  ".join(f"{name} {other / times[best]:.2f}" for name, other in times.items() if name != best)
    kernel = row["kernels"].get(best, "").partition("__")[2] or best
    taken = f"{times[best] * 1e6:9.1f} µs {speed}"
    return f"{row['case']:38} {kernel:20} {taken} | {others} | {networks}{failures}"
