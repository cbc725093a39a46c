"""The families by which the kernels are judged, and the bar of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from fastconv.bench.cases import DIRECTIONS
from fastconv.bench.suites import SUBNORMAL

from . import bounds

Row = dict[str, Any]

KERNELS = ("fastconv NHWC", "fastconv NCHW")
TORCH = ("torch NCHW", "torch channels_last")
PRODUCTS = ("torch", "numpy SkylakeX", "numpy")
PEAK, TILE = "the peak", "a tile"
CEILINGS = {(PEAK,): "peak", (TILE,): "tile"}
ROUNDED = 1 << 20
"""Bytes: less memory than this is what allocators and the kernel round to."""


def _any(row: Row) -> bool:
    return True


def _dense(row: Row) -> bool:
    return "depthwise" not in row


def _beside_a_tile(row: Row) -> bool:
    return _dense(row) and "tile" in row


def _depthwise(row: Row) -> bool:
    return "depthwise" in row


def _maximum(row: Row) -> bool:
    return bool(row["case"].startswith("max"))


def _mean(row: Row) -> bool:
    return bool(row["case"].startswith("average"))


def _sizes(row: Row) -> tuple[int, ...]:
    return tuple(map(int, row["case"].split("x")))


def _small(row: Row) -> bool:
    return max(_sizes(row)) <= 128


def _not_small(row: Row) -> bool:
    return not _small(row)


def _cube(row: Row) -> bool:
    return min(_sizes(row)) >= 1024


def _cube_beside_a_tile(row: Row) -> bool:
    return _cube(row) and "tile" in row


def _model(name: str) -> Callable[[Row], bool]:
    return lambda row: bool(row["case"].startswith(name))


@dataclass(frozen=True)
class Family:
    """Rows that are judged together.

    Attributes
    ----------
    name : str
    suite : str
        Whose rows.
    geomean, worst : float or None
        The least that the geometric mean of the ratios, and each of them, should be.
    rows : callable (row) -> bool
        Which of them.
    ours, others : tuple of str
        A ratio is the least of the others' times over the least of ours; of ``PEAK``, the share of it that is reached,
        and of ``TILE`` the share of what a tile of products reaches whose operands never leave the first cache.
    unit : "seconds" or "memory"
        Of memory, ``ROUNDED`` is added to both sides of a ratio.
    ideal : callable (row) -> seconds or None
        As if ours took so long where that is less than what it takes: what nobody can surpass who computes as we do.
    """

    name: str
    suite: str
    geomean: float | None = None
    worst: float | None = None
    rows: Callable[[Row], bool] = _any
    ours: tuple[str, ...] = KERNELS
    others: tuple[str, ...] = TORCH
    unit: str = "seconds"
    ideal: Callable[[Row], float | None] | None = None

    def ratio(self, row: Row) -> float | None:
        """Of one row; None: something of it is missing, and 0 where ours failed."""
        measured = row.get(self.unit, {})
        ours = [measured[name] for name in self.ours if name in measured]
        if not ours:
            return 0.0 if set(self.ours) & set(row.get("failed", ())) else None
        if self.others in CEILINGS:
            return float(row["flops"] / min(ours) / 1e9 / row[CEILINGS[self.others]])
        if self.ideal and (least := self.ideal(row)) is not None:
            ours.append(least)
        others = [measured[name] for name in self.others if name in measured]
        spare = ROUNDED if self.unit == "memory" else 0
        return (min(others) + spare) / (min(ours) + spare) if others else None

    def ratios(self, rows: list[Row]) -> dict[str, float]:
        """By case."""
        return {row["case"]: ratio for row in rows if self.rows(row) and (ratio := self.ratio(row)) is not None}

    def met(self, ratios: dict[str, float]) -> bool | None:
        """Whether the bar is; None: there is none."""
        if self.geomean is None and self.worst is None:
            return None
        values = list(ratios.values())
        return mean(values) >= (self.geomean or 0) and min(values) >= (self.worst or 0)


def mean(values: list[float]) -> float:
    """The geometric mean."""
    return prod(values) ** (1 / len(values))


IDEALS = (
    ("… if what is no Winograd ran at a tile's rate", _beside_a_tile, bounds.at_the_tile),
    ("… if it ran at the FMA peak", _dense, bounds.at_the_peak),
    ("… if the fewest products ran at the FMA peak, and nothing else took time", _dense, bounds.fewest_products),
)
CALL_NCHW = ("fastconv call NCHW",)
TORCH_NCHW = ("torch NCHW",)
IN_NCHW, BOTH_IN_NCHW = "… NCHW in and out, by the public call", "… the same against torch's NCHW"
OURS = ("fastconv",)

FAMILIES = (
    Family("convolution forward", "forward", 1.8, 1.0, _dense),
    *(Family(name, "forward", rows=rows, ideal=ideal) for name, rows, ideal in IDEALS),
    Family(IN_NCHW, "forward", 1.5, None, _dense, CALL_NCHW),
    Family(BOTH_IN_NCHW, "forward", None, None, _dense, CALL_NCHW, TORCH_NCHW),
    Family("convolution backward, input", "backward_input", 1.8, 1.0, _dense),
    *(Family(name, "backward_input", rows=rows, ideal=ideal) for name, rows, ideal in IDEALS),
    Family(IN_NCHW, "backward_input", None, None, _dense, CALL_NCHW),
    Family(BOTH_IN_NCHW, "backward_input", None, None, _dense, CALL_NCHW, TORCH_NCHW),
    Family("convolution backward, weight", "backward_weight", 1.9, 1.0, _dense),
    *(Family(name, "backward_weight", rows=rows, ideal=ideal) for name, rows, ideal in IDEALS),
    Family(IN_NCHW, "backward_weight", None, None, _dense, CALL_NCHW),
    Family(BOTH_IN_NCHW, "backward_weight", None, None, _dense, CALL_NCHW, TORCH_NCHW),
    Family("depthwise forward", "forward", 1.8, 1.3, _depthwise),
    Family("depthwise backward, input", "backward_input", 1.5, 1.0, _depthwise),
    Family("depthwise backward, weight", "backward_weight", 1.5, 1.0, _depthwise),
    Family("batch 1 forward, weights prepared", "batch1", 2.0),
    *(Family(name, "batch1", rows=rows, ideal=ideal) for name, rows, ideal in IDEALS),
    Family("max-pool forward", "pool", 2.0, 1.0, _maximum),
    Family("max-pool backward", "pool_backward", 1.1, 1.0, _maximum),
    Family("average-pool forward", "pool", rows=_mean),
    Family("average-pool backward", "pool_backward", rows=_mean),
    Family("GEMM 256…4096 and skinny, against torch", "matmul", 2.0, None, _not_small, OURS, ("torch",)),
    Family("… against NumPy with SkylakeX kernels", "matmul", 1.05, None, _not_small, OURS, ("numpy SkylakeX",)),
    Family("… against the best of all", "matmul", None, 0.97, _not_small, OURS, PRODUCTS),
    Family("… share of the FMA peak from 1024³", "matmul", None, 0.9, _cube, OURS, (PEAK,)),
    Family("… share of a tile's rate", "matmul", None, None, _cube_beside_a_tile, OURS, (TILE,)),
    Family("GEMM up to 128, against the best of all", "matmul", 1.2, 1.0, _small, OURS, PRODUCTS),
    Family("… by the public call", "matmul", rows=_small, ours=("fastconv call",), others=PRODUCTS),
    Family("at memory speed: activations, softmax, normalisation, optimizers …", "streams", ours=OURS, others=("torch",)),
    Family("training step, mnist-cnn, batch 128", "training", 3.5, None, _model("mnist-cnn"), OURS),
    Family("training step, LeNet-5, batch 128", "training", 4.0, None, _model("lenet5"), OURS),
    Family("training step, ResNet-18 on 32x32, batch 64", "training", 1.8, None, _model("resnet18"), OURS),
    *(Family(f"layers of other networks, {direction}", f"unseen_{direction}") for direction in DIRECTIONS),
    Family(
        "with subnormal operands, against the same without",
        "subnormal",
        None,
        0.1,
        _any,
        (KERNELS[0] + SUBNORMAL,),
        KERNELS[:1],
    ),
    Family("… PyTorch against the same", "subnormal", ours=(TORCH[1] + SUBNORMAL,), others=TORCH[1:]),
    *(
        Family(f"peak memory, {direction}, {layout}", f"memory_{direction}", None, 1.0, _any, (mine,), (theirs,), "memory")
        for direction in DIRECTIONS
        for layout, mine, theirs in (
            ("NHWC against channels_last", "fastconv NHWC", "torch channels_last"),
            ("NCHW, by the public call", "fastconv call NCHW", "torch NCHW"),
        )
    ),
)
