"""What a convolution of ours cannot be faster than, so that a bar that is not met can be told from one that cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv.bench.cases import convolution
from fastconv.dispatch import kernels

Row = Mapping[str, Any]


def at_the_peak(row: Row, ceiling: str = "peak") -> float | None:
    """Seconds of the products by the definition at the FMA peak; None: a kernel of Winograd's ran, which has fewer of them."""
    if any("winograd" in kernel for kernel in row["kernels"].values()):
        return None
    return float(row["flops"] / row[ceiling] * 1e-9)


def at_the_tile(row: Row) -> float | None:
    """The same at the rate of a tile of products whose operands never leave the first cache."""
    return at_the_peak(row, "tile")


def fewest_products(row: Row) -> float:
    """Seconds of the fewest products that any of our algorithms has, at the FMA peak: all else would take no time."""
    problem = convolution(row["case"])
    works = [
        kernel.work(kernel.in_layout(problem))["products"]
        for kernel in kernels("conv", row["direction"])
        if kernel.work is not None and not kernel.refuses(kernel.in_layout(problem))
    ]
    return min(row["flops"], *(2 * products for products in works)) / row["peak"] * 1e-9
