"""The table of all kernels in kernels/README.md: ``python -m benchmarks.pages`` writes it anew.

Names, ideas and sources are read from the registry, measured shares from ``results``.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import record
from fastconv.dispatch import OPERATORS, kernels

PAGE = Path(__file__).parents[1] / "kernels/README.md"
BEGIN, END = "<!-- the table: python -m benchmarks.catalogue -->", "<!-- end of the table -->"


def shares() -> dict[str, str]:
    """By kernel, on one thread of each machine: the best share of the FMA peak, or of a copy's bandwidth.

    The latter where memory is the limit, at the largest arrays that were measured.
    """
    texts: dict[str, list[str]] = {}
    for name, measured in record.measurements().items():
        for kernel, text in _shares(measured).items():
            texts.setdefault(kernel, []).append(f"{name}: {text}")
    return {kernel: "; ".join(own) for kernel, own in texts.items()}


def _shares(measured: record.Runs) -> dict[str, str]:
    """Of one machine."""
    found: dict[str, tuple[float, str]] = {}
    for runs in measured.values():
        run = runs.get("1", {})
        for row in run.get("rows", ()):
            streams = row.get("copy") or (run["GB/s"]["memory"] if row.get("depthwise") else None)
            if "memory" in row or not (streams or "peak" in row):
                continue
            for name, kernel in row["kernels"].items():
                if name not in row["seconds"] or " call" in name:
                    continue
                rate = row["bytes" if streams else "flops"] / row["seconds"][name] / 1e9
                share, of = rate / (streams or row["peak"]), "a copy's bandwidth" if streams else "the FMA peak"
                rank = row["bytes"] + share if streams else share
                found[kernel] = max(found.get(kernel, (0.0, "")), (rank, f"{share:.0%} of {of} ({row['case']})"))
    return {kernel: text for kernel, (_, text) in found.items()}


def table() -> str:
    """All kernels in the order of their tables: the first that takes a problem computes it."""
    measured = shares()
    lines = ["| kernel | idea | source | status | measured |", "|---|---|---|---|---|"]
    for operator, direction in OPERATORS:
        for kernel in kernels(operator, direction):
            status = {"numpy": "reference", "cpu": "stable", "cuda": "not yet run on a GPU"}[kernel.target]
            fields = f"`{kernel.name}`", kernel.summary, kernel.source, status, measured.get(kernel.name, "")
            lines.append(f"| {' | '.join(field.replace('|', '∣') for field in fields)} |")
    return "\n".join(lines)


def page() -> str:
    """The page as it should be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


def write() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    write()
