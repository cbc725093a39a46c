"""The suites: which cases, and who is asked for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from statistics import median
from typing import Any

import llvmlite.binding as llvm

from fastconv.dispatch import LAYOUTS, kernels
from fastconv.errors import ArgumentError

from . import ceilings, timing
from .cases import NETWORKS, READERS, Case, cases, files
from .ceilings import COPY, PEAK, TILE
from .contestants import KEEP_MEMORY, Contestant
from .workers import Field, Worker

OUR_KERNELS = tuple(Contestant(f"fastconv {layout}", "ours", {"layout": layout}) for layout in ("NHWC", "NCHW"))
OUR_CALLS = tuple(
    Contestant(f"fastconv call {layout}", "ours", {"layout": layout, "public": True}) for layout in ("NHWC", "NCHW")
)
FORMATS = {"NCHW": "NCHW", "channels_last": "NHWC"}
TORCH = tuple(Contestant(f"torch {name}", "pytorch", {"layout": layout}) for name, layout in FORMATS.items())
TORCH_BY_DEFAULT = tuple(
    Contestant(f"torch {name}, default malloc", "pytorch", {"layout": layout}, {}) for name, layout in FORMATS.items()
)
PREPARED = (*OUR_KERNELS, *TORCH, *TORCH_BY_DEFAULT)
ON_IMAGES = (*OUR_KERNELS, *TORCH, *OUR_CALLS, *TORCH_BY_DEFAULT)
OF_PRODUCTS = PEAK, TILE
ON_STREAMS = (COPY, Contestant("fastconv", "ours"), Contestant("torch", "pytorch"))
ON_MATRICES: tuple[Contestant, ...] = (
    *OF_PRODUCTS,
    Contestant("fastconv", "ours"),
    Contestant("torch", "pytorch"),
    Contestant("fastconv call", "ours", {"public": True}),
    Contestant("numpy", "numerical"),
)
if llvm.get_host_cpu_features().get("avx512f"):  # which OpenBLAS does not find out by itself on every CPU
    ON_MATRICES += (Contestant("numpy SkylakeX", "numerical", {}, KEEP_MEMORY | {"OPENBLAS_CORETYPE": "SkylakeX"}),)
ON_MATRICES += (Contestant("cupy", "on_gpu"),)
SUBNORMAL = ", one in seven subnormal"
"""After the name of who is given such operands (``operands.SUBNORMAL``)."""
ON_SUBNORMALS = tuple(
    replace(each, name=each.name + SUBNORMAL * subnormal, subnormal=subnormal)
    for each in (OUR_KERNELS[0], TORCH[1])
    for subnormal in (False, True)
)
ON_ONE_IMAGE = (
    *(PEAK, *OUR_KERNELS, *TORCH),
    *(Contestant(f"scipy {name}", "scientific", {"function": name}) for name in ("ndimage.correlate", "signal.correlate2d")),
)
NEEDS = {"pytorch": "torch", "scientific": "scipy", "on_gpu": "cupy"}
"""Library → the package without which it is left out."""


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
    threads : tuple of int
        With how many it is measured.
    unit : "seconds" or "bytes"
        What is measured: the time of a call, or the memory that it needs.
    """

    operator: str
    direction: str
    contestants: tuple[Contestant, ...]
    files: tuple[str, ...]
    packed: bool = False
    batch: int | None = None
    threads: tuple[int, ...] = (1, 2)
    unit: str = "seconds"

    def cases(self) -> list[Case]:
        return cases(self.operator, self.direction, self.files, self.batch, self.packed)


def _crossovers() -> tuple[Contestant, ...]:
    """The public call, and the same told to use each algorithm; layouts are converted where a kernel takes another."""
    return OUR_CALLS + tuple(
        Contestant(f"{kernel.algorithm} {layout}", "ours", {"layout": layout, "algorithm": kernel.algorithm, "public": True})
        for layout in LAYOUTS
        for kernel in kernels("conv", "forward")
        if kernel.target == "cpu"
    )


def _memory(direction: str) -> Suite:
    contestants = (OUR_KERNELS[0], OUR_CALLS[1], *TORCH)
    frugal = tuple(replace(each, environment={"MALLOC_MMAP_THRESHOLD_": "65536"}) for each in contestants)  # freed is gone
    return Suite("conv", direction, frugal, ("largest",), threads=(2,), unit="bytes")


def _unseen(direction: str) -> Suite:
    return Suite("conv", direction, (*OF_PRODUCTS, *OUR_KERNELS, *TORCH), ("unseen",), threads=(1,))


SUITES = {
    "forward": Suite("conv", "forward", (*OF_PRODUCTS, *ON_IMAGES), NETWORKS),
    "backward_input": Suite("conv", "backward_input", (*OF_PRODUCTS, *ON_IMAGES), NETWORKS),
    "backward_weight": Suite("conv", "backward_weight", (*OF_PRODUCTS, *ON_IMAGES), NETWORKS),
    "batch1": Suite("conv", "forward", (*OF_PRODUCTS, *PREPARED), NETWORKS, packed=True, batch=1),
    "unseen_forward": _unseen("forward"),
    "unseen_backward_input": _unseen("backward_input"),
    "unseen_backward_weight": _unseen("backward_weight"),
    "pool": Suite("pool", "forward", (COPY, *ON_IMAGES), (*NETWORKS, "average")),
    "pool_backward": Suite("pool", "backward_input", (COPY, *ON_IMAGES), (*NETWORKS, "average")),
    "matmul": Suite("matmul", "forward", ON_MATRICES, ("large", "skinny", "small")),
    "training": Suite("train", "step", (PEAK, Contestant("fastconv", "ours"), *TORCH, *TORCH_BY_DEFAULT), ("steps",)),
    "streams": Suite("stream", "", ON_STREAMS, ("memory",)),
    "subnormal": Suite("conv", "forward", (PEAK, *ON_SUBNORMALS), ("subnormal",), threads=(1,)),
    "image": Suite("conv", "forward", ON_ONE_IMAGE, ("image",), threads=(1,)),
    "memory_forward": _memory("forward"),
    "memory_backward_input": _memory("backward_input"),
    "memory_backward_weight": _memory("backward_weight"),
    "crossovers": Suite("conv", "forward", _crossovers(), ("crossovers",), threads=(1,)),
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
        Contestant(f"fastconv {name} {own}", "ours", {"layout": own, "algorithm": name})
        for name, layout in known.items()
        for own in ([layout] if layout else LAYOUTS)
        if algorithm in ("all", name)
    ]
    others = [contestant for contestant in suite.contestants if contestant.library != "ours"]
    return replace(suite, contestants=(*ours, *others))


def choices(suite: Suite) -> Suite:
    """Our kernels of every algorithm that neither refuses nor declines a case, in the layout that most of them take."""
    each = [
        replace(contestant, options={**contestant.options, "willing": True})
        for contestant in with_algorithm(suite, "all").contestants
        if contestant.library == "ours" and contestant.options["layout"] == "NHWC"
    ]
    return replace(suite, contestants=(PEAK, *each))


def only_kernels(suite: Suite) -> Suite:
    """The suite with what our kernels alone take, without calls and without others."""
    own = [each for each in suite.contestants if each.library in ("ours", "ceiling") and not each.options.get("public")]
    return replace(suite, contestants=tuple(own))


def with_device(suite: Suite, precision: str | None) -> Suite:
    """The suite with ours on a GPU, too: their arrays there, in either layout, and their way there and back."""
    layouts = [""] if suite.operator == "matmul" else [f" {layout}" for layout in LAYOUTS]
    ways: dict[str, dict[str, Any]] = {name: {"layout": name.strip() or LAYOUTS[0]} for name in layouts}
    ways[", there and back"] = {"moved": True}
    ours = [Contestant(f"fastconv cuda{name}", "on_device", way | {"precision": precision}) for name, way in ways.items()]
    return replace(suite, contestants=(*suite.contestants, *ours))


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
    contestants = [each for each in suite.contestants if find_spec(NEEDS.get(each.library, "numpy"))]
    if suite.unit == "bytes":
        yield from (_grown(case, contestants, threads) for case in found)
        return
    with Field(contestants, threads) as field:
        for case in found:
            yield _timed(case, field, rounds, seconds)


def _about(case: Case) -> dict[str, Any]:
    """The row of a case, before it was measured."""
    row: dict[str, Any] = {"case": case.text, "direction": case.direction, "occurs": dict(case.occurs)}
    row |= {name: getattr(case.problem, name) for name in ("flops", "bytes", "footprint") if hasattr(case.problem, name)}
    for name in ("depthwise", "in_place"):
        if getattr(case if name == "depthwise" else case.problem, name, False):
            row[name] = True
    return row


def _timed(case: Case, field: Field, rounds: int, seconds: float) -> dict[str, Any]:
    """Seconds of one call of each contestant, the median of all rounds, and what the machine can do beside them.

    ``least`` is the shortest sample, ``spread`` by how much of the median the samples differ from it at most; ``peak`` and
    ``tile`` are GFLOP/s, ``copy`` are GB/s.
    """
    answers, samples = field.measure(case, rounds, seconds)
    times = {name: median(taken) for name, taken in samples.items()}
    row = _about(case)
    ceilings.beside(row, times, {name: answer.flops for name, answer in answers.items()})
    row["seconds"] = {name: float(f"{taken:.4g}") for name, taken in times.items()}
    row["least"] = {name: float(f"{min(samples[name]):.4g}") for name in times}
    row["spread"] = {name: round(timing.spread(samples[name]), 3) for name in times}
    row["kernels"] = {name: answer.kernel for name, answer in answers.items() if answer.kernel}
    if failed := {name: answer.failed for name, answer in answers.items() if answer.failed}:
        row["failed"] = failed
    return row


def _grown(case: Case, contestants: list[Contestant], threads: int) -> dict[str, Any]:
    """Bytes that a call of each contestant needs above its operands and its result, each in a new process."""
    row = _about(case) | {"memory": {}}
    for contestant in contestants:
        worker = Worker(threads, contestant.environment)
        grown = worker.ask("grown", case, contestant)
        worker.end()
        if grown is not None:
            row["memory"][contestant.name] = grown
    return row
