"""The suites: which cases, and who is asked for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from fastconv.dispatch import kernels
from fastconv.errors import ArgumentError

from .cases import NETWORKS, READERS, Case, cases, files
from .contestants import KEEP_MEMORY, Contestant
from .workers import Field

PEAK = Contestant("FMA peak", "ceiling")
OUR_KERNELS = tuple(Contestant(f"fastconv {layout}", "ours", {"layout": layout}) for layout in ("NHWC", "NCHW"))
OUR_CALLS = tuple(
    Contestant(f"fastconv call {layout}", "ours", {"layout": layout, "public": True}) for layout in ("NHWC", "NCHW")
)
FORMATS = {"NCHW": "NCHW", "channels_last": "NHWC"}
TORCH = tuple(Contestant(f"torch {name}", "pytorch", {"layout": layout}) for name, layout in FORMATS.items())
TORCH_BY_DEFAULT = tuple(
    Contestant(f"torch {name}, default malloc", "pytorch", {"layout": layout}, {}) for name, layout in FORMATS.items()
)
ON_IMAGES = (PEAK, *OUR_KERNELS, *TORCH, *OUR_CALLS, *TORCH_BY_DEFAULT)
ON_MATRICES = (
    PEAK,
    Contestant("fastconv", "ours"),
    Contestant("torch", "pytorch"),
    Contestant("fastconv call", "ours", {"public": True}),
    Contestant("numpy SkylakeX", "numerical", {}, KEEP_MEMORY | {"OPENBLAS_CORETYPE": "SkylakeX"}),
    Contestant("numpy", "numerical"),
)


@dataclass(frozen=True)
class Suite:
    """Cases and those who are asked for them.

    Attributes
    ----------
    operator, direction : str
    contestants : tuple of Contestant
    files : tuple of str
        Of ``shapes``.
    packed : bool
        Whether weights are prepared before the call.
    batch : int or None
        Instead of the files' own.
    """

    operator: str
    direction: str
    contestants: tuple[Contestant, ...]
    files: tuple[str, ...]
    packed: bool = False
    batch: int | None = None

    def cases(self) -> list[Case]:
        return cases(self.operator, self.direction, self.files, self.batch, self.packed)


SUITES = {
    "forward": Suite("conv", "forward", ON_IMAGES, NETWORKS),
    "backward_input": Suite("conv", "backward_input", ON_IMAGES, NETWORKS),
    "backward_weight": Suite("conv", "backward_weight", ON_IMAGES, NETWORKS),
    "batch1": Suite("conv", "forward", (PEAK, *OUR_KERNELS, *TORCH, *TORCH_BY_DEFAULT), NETWORKS, packed=True, batch=1),
    "pool": Suite("pool", "forward", ON_IMAGES, (*NETWORKS, "average")),
    "pool_backward": Suite("pool", "backward_input", ON_IMAGES, (*NETWORKS, "average")),
    "matmul": Suite("matmul", "forward", ON_MATRICES, ("large", "skinny", "small")),
}


def with_algorithm(suite: Suite, algorithm: str) -> Suite:
    """The suite with our kernels of an algorithm, or with each of "all", in place of the one that would be chosen.

    Raises
    ------
    ArgumentError
        There is no such algorithm.
    """
    known = {kernel.algorithm: kernel.layout for kernel in kernels(suite.operator, suite.direction) if kernel.target == "cpu"}
    if algorithm != "all" and algorithm not in known:
        raise ArgumentError(f"algorithm: expected one of all, {', '.join(known)}, got {algorithm!r}")
    ours = [
        Contestant(f"fastconv {name}", "ours", {"layout": layout or "NHWC", "algorithm": name})
        for name, layout in known.items()
        if algorithm in ("all", name)
    ]
    others = [contestant for contestant in suite.contestants if contestant.library != "ours"]
    return replace(suite, contestants=(others[0], *ours, *others[1:]))


def without_default_malloc(suite: Suite) -> Suite:
    """The suite without the contestants that only differ in how memory is allocated."""
    return replace(suite, contestants=tuple(each for each in suite.contestants if each.environment))


def named(operator: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``names`` of which the operator has a file: not every network has every operator."""
    if unknown := set(names) - {name for known in READERS for name in files(known)}:
        everything = dict.fromkeys(name for known in READERS for name in files(known))
        raise ArgumentError(f"networks: expected some of {', '.join(everything)}, got {', '.join(sorted(unknown))!r}")
    return tuple(name for name in names if name in files(operator))


def rows(found: list[Case], suite: Suite, threads: int, rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """What was measured for each case, as it comes."""
    with Field(suite.contestants, threads) as field:
        for case in found:
            yield row(case, field, rounds, seconds)


def row(case: Case, field: Field, rounds: int, seconds: float) -> dict[str, Any]:
    """Seconds of one call of each contestant, the median of all rounds, and GFLOP/s of the machine's peak beside them."""
    answers, samples = field.measure(case, rounds, seconds)
    times = {name: median(taken) for name, taken in samples.items()}
    result: dict[str, Any] = {
        "case": case.text,
        "occurs": dict(case.occurs),
        "flops": case.problem.flops,
        "bytes": case.problem.bytes,
    }
    if case.depthwise:
        result["depthwise"] = True
    if peak := times.pop(PEAK.name, None):
        result["peak"] = round(answers[PEAK.name].flops / peak / 1e9, 1)
    result["seconds"] = {name: float(f"{taken:.4g}") for name, taken in times.items()}
    result["kernels"] = {name: answer.kernel for name, answer in answers.items() if answer.kernel}
    if failed := {name: answer.failed for name, answer in answers.items() if answer.failed}:
        result["failed"] = failed
    return result


Report = Callable[[str], None]
