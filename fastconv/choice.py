"""Which kernel computes a problem.

A request is an argument of the call, else of the innermost ``with use(…)``, else of the environment, else what was measured
on this machine (``fastconv tune``), else the ranking of the kernels' tables.  A request is never answered by something else:
what cannot be had raises, with every kernel's reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from fastconv_kernels.registry import Kernel, Refused, objections, select

from . import winners
from .errors import ArgumentError, UnsupportedError
from .settings import Settings, settings

OPERATORS: dict[tuple[str, str], tuple[str, str]] = {
    ("conv", "forward"): ("conv", "FORWARD"),
    ("conv", "backward_input"): ("conv", "BACKWARD_INPUT"),
    ("conv", "backward_weight"): ("conv", "BACKWARD_WEIGHT"),
    ("conv_pool", "forward"): ("conv", "CONV_POOL_FORWARD"),
    ("conv_pool", "backward_epilogue"): ("conv", "CONV_POOL_BACKWARD_EPILOGUE"),
    ("conv_pool", "backward_weight"): ("conv", "CONV_POOL_BACKWARD_WEIGHT"),
    ("conv_pool", "backward_input"): ("conv", "CONV_POOL_BACKWARD_INPUT"),
    ("matmul", "forward"): ("matmul", "FORWARD"),
    ("pool", "forward"): ("pool", "FORWARD"),
    ("pool", "backward_input"): ("pool", "BACKWARD_INPUT"),
    ("elementwise", "forward"): ("elementwise", "FORWARD"),
    ("elementwise", "backward_input"): ("elementwise", "BACKWARD_INPUT"),
    ("maxout", "forward"): ("elementwise", "MAXOUT_FORWARD"),
    ("maxout", "backward_input"): ("elementwise", "MAXOUT_BACKWARD_INPUT"),
    ("dropout", "forward"): ("dropout", "FORWARD"),
    ("softmax", "forward"): ("loss", "SOFTMAX_FORWARD"),
    ("softmax", "backward_input"): ("loss", "SOFTMAX_BACKWARD_INPUT"),
    ("log_softmax", "forward"): ("loss", "LOG_SOFTMAX_FORWARD"),
    ("log_softmax", "backward_input"): ("loss", "LOG_SOFTMAX_BACKWARD_INPUT"),
    ("cross_entropy", "forward"): ("loss", "CROSS_ENTROPY_FORWARD"),
    ("batch_norm", "forward"): ("norm", "FORWARD"),
    ("batch_norm", "inference"): ("norm", "INFERENCE"),
    ("batch_norm", "backward"): ("norm", "BACKWARD"),
    ("channel_sum", "forward"): ("reduction", "CHANNEL_SUM_FORWARD"),
    ("sgd", "update"): ("optimizer", "SGD_UPDATE"),
    ("adam", "update"): ("optimizer", "ADAM_UPDATE"),
    ("gather", "forward"): ("layout", "GATHER_FORWARD"),
    ("nchw_to_nhwc", "forward"): ("layout", "NCHW_TO_NHWC_FORWARD"),
    ("nhwc_to_nchw", "forward"): ("layout", "NHWC_TO_NCHW_FORWARD"),
}
"""(operator, direction) → (module of fastconv_kernels, name of its ranked table); imported when first needed."""


def kernels(operator: str, direction: str) -> list[Kernel]:
    """The ranked table of an operator's direction."""
    try:
        module, attribute = OPERATORS[operator, direction]
    except KeyError:
        known = sorted({name for name, _ in OPERATORS})
        raise ArgumentError(f"operator: expected one of {', '.join(known)}, got {operator!r}, {direction!r}") from None
    table: list[Kernel] = getattr(import_module(f"fastconv_kernels.{module}"), attribute)
    return table


def request_for(operator: str, direction: str, asked: Settings) -> Settings:
    """``asked`` over what holds around it, "auto" resolved, as the tables are walked with it."""
    around, ranked = settings(), kernels(operator, direction)
    algorithm = asked.algorithm or around.algorithm
    if algorithm is not None and algorithm != "auto" and algorithm not in {kernel.algorithm for kernel in ranked}:
        if asked.algorithm or not _exists(algorithm):
            here = ", ".join(dict.fromkeys(kernel.algorithm for kernel in ranked))
            raise ArgumentError(f"algorithm: expected one of {here} for {operator} {direction}, got {algorithm!r}")
        algorithm = "auto"  # asked of all operators, and another one has it
    request = asked.over(around)
    return request._replace(
        algorithm=None if algorithm == "auto" else algorithm,
        target=None if request.target == "auto" else request.target,
        accuracy=request.accuracy or "fast",
    )


def _exists(algorithm: str) -> bool:
    return any(kernel.algorithm == algorithm for entry in OPERATORS for kernel in kernels(*entry))


def all_threads() -> int:
    """The most that a kernel can use."""
    from fastconv_kernels.cpu.threads import available_threads

    return available_threads()


def threads_for(kernel: Kernel, threads: int | None) -> int:
    if kernel.target == "numpy":
        return threads or 1
    available = all_threads()
    if threads is not None and threads > available:
        raise ArgumentError(f"threads: expected at most {available}, which Numba has here (NUMBA_NUM_THREADS), got {threads}")
    return threads or available


def planned(
    kernel: Kernel, problem: Any, threads: int | None, prepared: bool | None = False, most_bytes: int | None = None
) -> Any:
    return kernel.made(kernel.in_layout(problem), threads_for(kernel, threads), bool(prepared), most_bytes)


def _refusing(kernel: Kernel, reasons: Callable[[Kernel, Any], tuple[str, ...]]) -> Kernel:
    """``kernel``, refusing for these reasons too."""
    return replace(kernel, refuses=lambda problem: kernel.refuses(problem) or reasons(kernel, problem))


def _too_large(kernel: Kernel, problem: Any, *, limit: int, request: Settings) -> tuple[str, ...]:
    needed = planned(kernel, problem, request.threads, request.prepared, limit).workspace_bytes
    return () if needed <= limit else (f"needs a workspace of {needed} bytes, max_workspace_bytes is {limit}",)


def _in_another_layout(kernel: Kernel, problem: Any) -> tuple[str, ...]:
    return () if kernel.in_layout(problem) == problem else (f"takes images in {kernel.layout} alone, not in {problem.layout}",)


def tuning_file() -> Path | None:
    """The table of measured winners of this machine; None: the user wants none."""
    import llvmlite.binding as llvm

    from fastconv_kernels.cpu import cache, simd, threads

    machine = f"{llvm.get_host_cpu_name()}-{simd.register_bytes() // 4}-lanes-{threads.available_threads()}-threads"
    return winners.path(cache.user_cache_folder(), machine)


def measured(operator: str, direction: str, problem: Any, asked: Settings) -> Mapping[str, float]:
    """Seconds of each algorithm as ``fastconv tune`` has found them here for what is asked; empty: it has not."""
    file, request = tuning_file(), asked.over(settings())
    if file is None:
        return {}
    name = winners.key(operator, direction, problem, request.threads or all_threads(), request.accuracy or "fast")
    return winners.read(file).get(name, {})


def selected(
    operator: str, direction: str, problem: Any, request: Settings, limit: int | None = None, converting: bool = True
) -> Kernel:
    """The kernel for a request: within ``limit`` bytes of workspace, and without ``converting`` in the problem's layout."""
    ranked, accuracy = kernels(operator, direction), request.accuracy or "fast"
    if not converting:
        ranked = [_refusing(kernel, _in_another_layout) for kernel in ranked]
    if limit is not None:
        ranked = [_refusing(kernel, partial(_too_large, limit=limit, request=request)) for kernel in ranked]
    if request.algorithm is None and request.target in (None, "cpu"):
        tuned = measured(operator, direction, problem, request)
        for algorithm in sorted(tuned, key=tuned.__getitem__):
            for kernel in ranked:
                if not objections(kernel, problem, algorithm, "cpu", accuracy):
                    return kernel
    try:
        walked = request.algorithm, request.target, accuracy, request.precision or "fp32"
        return select(ranked, problem, *walked, prepared=bool(request.prepared))
    except Refused as refused:
        raise UnsupportedError(str(refused)) from None


def candidates(operator: str, direction: str, problem: Any, asked: Settings) -> list[Kernel]:
    """The CPU kernels that can compute ``problem`` with the accuracy that is asked for, whether or not they decline it."""
    accuracy = asked.accuracy or "fast"
    ranked = kernels(operator, direction)
    return [kernel for kernel in ranked if not objections(kernel, problem, kernel.algorithm, "cpu", accuracy)]


def ranked_choice(operator: str, direction: str, problem: Any, asked: Settings) -> Kernel:
    """The kernel that would compute ``problem`` if nothing had been measured here."""
    return select(kernels(operator, direction), problem, None, "cpu", asked.accuracy or "fast")


def walk(
    operator: str, direction: str, problem: Any, asked: Settings, converting: bool = True
) -> list[tuple[Kernel, tuple[str, ...]]]:
    """Every kernel of the table with what speaks against it, in the order in which they are asked."""
    request = request_for(operator, direction, asked.checked())
    ranked = kernels(operator, direction)
    ranked = ranked if converting else [_refusing(kernel, _in_another_layout) for kernel in ranked]
    return [
        (
            kernel,
            objections(
                kernel, problem, request.algorithm, request.target, request.accuracy or "fast", request.precision or "fp32"
            ),
        )
        for kernel in ranked
    ]


def choose(
    operator: str,
    direction: str,
    problem: Any,
    *,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str | None = None,
    prepared: bool = False,
) -> Kernel:
    """The kernel that computes ``problem``; prepared: with weights that are packed once for many calls.

    Raises
    ------
    UnsupportedError
        With the objections of every kernel.
    ArgumentError, TargetUnavailableError
        A request that names nothing, or nothing that can run here.
    """
    asked = Settings(target, algorithm, accuracy=accuracy, prepared=prepared)
    request = request_for(operator, direction, asked.checked())
    return selected(operator, direction, problem, request)
