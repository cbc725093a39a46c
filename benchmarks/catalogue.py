"""The table of all kernels in kernels/README.md: ``python -m benchmarks.catalogue`` writes it anew.

Names, ideas and sources are read from the registry, measured shares from ``results``.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.record import RESULTS
from fastconv.dispatch import OPERATORS, kernels

PAGE = Path(__file__).parents[1] / "kernels/README.md"
BEGIN, END = "<!-- the table: python -m benchmarks.catalogue -->", "<!-- end of the table -->"


def shares() -> dict[str, str]:
    """The best measured share of the FMA peak by kernel, and where."""
    found = {}
    if (path := RESULTS / "layers.json").exists():
        for row in sorted(json.loads(path.read_text())["rows"], key=lambda row: row["of peak"]):
            found[row["kernel"]] = f"{row['of peak']:.0%} of the FMA peak ({row['layer']})"
    if (path := RESULTS / "gemm.json").exists():
        result = json.loads(path.read_text())
        name = kernels("matmul", "forward")[0].name
        found[name] = f"{result['fastconv']['of peak']:.0%} of the FMA peak ({result['size']}³)"
    return found


def table() -> str:
    """All kernels in the order of their tables: the first that takes a problem computes it."""
    measured = shares()
    lines = ["| kernel | idea | source | status | measured |", "|---|---|---|---|---|"]
    for operator, direction in OPERATORS:
        for kernel in kernels(operator, direction):
            status = "reference" if kernel.target == "numpy" else "stable"
            fields = f"`{kernel.name}`", kernel.summary, kernel.source, status, measured.get(kernel.name, "")
            lines.append(f"| {' | '.join(field.replace('|', '∣') for field in fields)} |")
    return "\n".join(lines)


def page() -> str:
    """The page as it should be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page())
