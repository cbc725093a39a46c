"""Policy: which kernel computes a problem, with how many threads, and who holds its plan.

A request is an argument of the call, else of the innermost ``with use(…)``, else of the environment, else what was measured
on this machine (``fastconv tune``), else the ranking of the kernels' tables.  A request is never answered by something else:
what cannot be had raises, with every kernel's reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fastconv_kernels.cpu.workspace import uninitialised
from fastconv_kernels.problems import (
    ELEMENTWISE,
    FLOATS,
    LAYOUTS,
    BatchNorm,
    Conv,
    ConvPool,
    Elementwise,
    Matmul,
    Maxout,
    Pool,
    Rows,
    Transposition,
    Update,
    adaptive_windows,
    padding_pairs,
)
from fastconv_kernels.registry import Kernel, Refused, objections, select

from . import winners
from .errors import ArgumentError, UnsupportedError
from .settings import Around, Settings, around, settings, use

__all__ = [
    "ELEMENTWISE",
    "FLOATS",
    "LAYOUTS",
    "OPERATORS",
    "Around",
    "BatchNorm",
    "Conv",
    "ConvPool",
    "Elementwise",
    "Kernel",
    "Lender",
    "Matmul",
    "Maxout",
    "Pool",
    "Rows",
    "Settings",
    "Transposition",
    "Update",
    "adaptive_windows",
    "all_threads",
    "around",
    "candidates",
    "choose",
    "forget_choices",
    "kernels",
    "leased",
    "lender",
    "measured",
    "padding_pairs",
    "plan_for",
    "ranked_choice",
    "remembered",
    "settings",
    "tuning_file",
    "uninitialised",
    "use",
    "walk",
]

OPERATORS: dict[tuple[str, str], tuple[str, str]] = {
    ("conv", "forward"): ("conv", "FORWARD"),
    ("conv", "backward_input"): ("conv", "BACKWARD_INPUT"),
    ("conv", "backward_weight"): ("conv", "BACKWARD_WEIGHT"),
    ("conv_pool", "forward"): ("conv", "CONV_POOL_FORWARD"),
    ("conv_pool", "backward_epilogue"): ("conv", "CONV_POOL_BACKWARD_EPILOGUE"),
    ("conv_pool", "backward_weight"): ("conv", "CONV_POOL_BACKWARD_WEIGHT"),
    ("matmul", "forward"): ("matmul", "FORWARD"),
    ("pool", "forward"): ("pool", "FORWARD"),
    ("pool", "backward_input"): ("pool", "BACKWARD_INPUT"),
    ("elementwise", "forward"): ("elementwise", "FORWARD"),
    ("elementwise", "backward_input"): ("elementwise", "BACKWARD_INPUT"),
    ("maxout", "forward"): ("elementwise", "MAXOUT_FORWARD"),
    ("maxout", "backward_input"): ("elementwise", "MAXOUT_BACKWARD_INPUT"),
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
    ("nchw_to_nhwc", "forward"): ("layout", "NCHW_TO_NHWC_FORWARD"),
    ("nhwc_to_nchw", "forward"): ("layout", "NHWC_TO_NCHW_FORWARD"),
}
"""(operator, direction) → (module of fastconv_kernels, name of its ranked table); imported when first needed."""

PLAN_CACHE_SIZE = 32
"""Problems whose plans the functional calls keep: more than the layers of most networks, with workspaces of a few MB each."""

SPARE_PLANS = 4
"""Plans of one problem that are kept after having been in use at the same time."""


def kernels(operator: str, direction: str) -> list[Kernel]:
    """The ranked table of an operator's direction."""
    try:
        module, attribute = OPERATORS[operator, direction]
    except KeyError:
        known = sorted({name for name, _ in OPERATORS})
        raise ArgumentError(f"operator: expected one of {', '.join(known)}, got {operator!r}, {direction!r}") from None
    table: list[Kernel] = getattr(import_module(f"fastconv_kernels.{module}"), attribute)
    return table


def _request(operator: str, direction: str, asked: Settings) -> Settings:
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


def _threads(kernel: Kernel, threads: int | None) -> int:
    if kernel.target == "numpy":
        return threads or 1
    available = all_threads()
    if threads is not None and threads > available:
        raise ArgumentError(f"threads: expected at most {available}, which Numba has here (NUMBA_NUM_THREADS), got {threads}")
    return threads or available


def _planned(kernel: Kernel, problem: Any, threads: int | None) -> Any:
    return kernel.plan(kernel.in_layout(problem), _threads(kernel, threads))


def _limited(kernel: Kernel, limit: int, threads: int | None) -> Kernel:
    """``kernel``, refusing what it would need a larger workspace for."""

    def refuses(problem: Any) -> tuple[str, ...]:
        if reasons := kernel.refuses(problem):
            return reasons
        needed = _planned(kernel, problem, threads).workspace_bytes
        return () if needed <= limit else (f"needs a workspace of {needed} bytes, max_workspace_bytes is {limit}",)

    return replace(kernel, refuses=refuses)


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


def _select(operator: str, direction: str, problem: Any, request: Settings, limit: int | None) -> Kernel:
    ranked, accuracy = kernels(operator, direction), request.accuracy or "fast"
    if limit is not None:
        ranked = [_limited(kernel, limit, request.threads) for kernel in ranked]
    if request.algorithm is None and request.target in (None, "cpu"):
        tuned = measured(operator, direction, problem, request)
        for algorithm in sorted(tuned, key=tuned.__getitem__):
            for kernel in ranked:
                if not objections(kernel, problem, algorithm, "cpu", accuracy):
                    return kernel
    try:
        return select(ranked, problem, request.algorithm, request.target, accuracy)
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


def forget_choices() -> None:
    """Choose anew for every problem: the table of measured winners has changed."""
    for forget in _memories:
        forget()


def walk(operator: str, direction: str, problem: Any, asked: Settings) -> list[tuple[Kernel, tuple[str, ...]]]:
    """Every kernel of the table with what speaks against it, in the order in which they are asked."""
    request = _request(operator, direction, asked.checked())
    return [
        (kernel, objections(kernel, problem, request.algorithm, request.target, request.accuracy or "fast"))
        for kernel in kernels(operator, direction)
    ]


def choose(
    operator: str,
    direction: str,
    problem: Any,
    *,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str | None = None,
) -> Kernel:
    """The kernel that computes ``problem``.

    Raises
    ------
    UnsupportedError
        With the objections of every kernel.
    ArgumentError, TargetUnavailableError
        A request that names nothing, or nothing that can run here.
    """
    request = _request(operator, direction, Settings(target, algorithm, accuracy=accuracy).checked())
    return _select(operator, direction, problem, request, None)


Settled = TypeVar("Settled")


def remembered(settle: Callable[..., Settled]) -> Callable[..., Settled]:
    """``settle``, called once for the same arguments, and its last results kept; the first argument must be ``around()``.

    What a call can know from shapes and dtypes alone, it settles in such a function: the checks, the problem, the kernel, the
    plans.  Arguments are compared as they are, which is quick for shapes, and far from it for a problem.
    """
    kept = lru_cache(PLAN_CACHE_SIZE)(settle)
    _memories.append(kept.cache_clear)

    def recall(*arguments: Any) -> Settled:
        try:
            return kept(*arguments)
        except TypeError:  # what cannot be compared is no right argument: ``settle`` finds out which
            return settle(*arguments)

    return recall


_memories: list[Callable[[], None]] = []
"""How to forget what each of them has settled."""


class Lender:
    """The plans of one problem, each lent to one call at a time; another is made when calls meet.

    ``lender(…)`` calls a plan that is nobody else's meanwhile; ``with lender.lend() as plan`` keeps one for longer.

    Attributes
    ----------
    kernel : Kernel
    problem
        In the layout that the kernel takes.
    threads, workspace_bytes : int
        Of each plan.
    """

    def __init__(self, kernel: Kernel, problem: Any, threads: int | None) -> None:
        self.kernel, self.problem = kernel, kernel.in_layout(problem)
        self.threads = _threads(kernel, threads)
        first = kernel.plan(self.problem, self.threads)
        self.workspace_bytes: int = first.workspace_bytes
        self._spare = [first]

    def __call__(self, *arguments: Any) -> None:
        try:
            plan = self._spare.pop()  # a list's pop and append are atomic: no lock that a fork could leave locked
        except IndexError:
            plan = self.kernel.plan(self.problem, self.threads)
        plan(*arguments)
        if len(self._spare) < SPARE_PLANS:
            self._spare.append(plan)  # not after an error: it may have been left half-way

    @contextmanager
    def lend(self) -> Iterator[Any]:
        """A plan that is the caller's alone inside the ``with``."""
        try:
            plan = self._spare.pop()
        except IndexError:
            plan = self.kernel.plan(self.problem, self.threads)
        yield plan
        if len(self._spare) < SPARE_PLANS:
            self._spare.append(plan)


@remembered
def _lender(_around: Around, operator: str, direction: str, problem: Any, asked: Settings, limit: int | None) -> Lender:
    request = _request(operator, direction, asked.checked())
    return Lender(_select(operator, direction, problem, request, limit), problem, request.threads)


def lender(
    operator: str, direction: str, problem: Any, asked: Settings | None = None, max_workspace_bytes: int | None = None
) -> Lender:
    """The cached lender of a problem's plans, which take arrays in *its* problem's layout.

    Raises
    ------
    UnsupportedError, ArgumentError, TargetUnavailableError
        As ``choose``; kernels that need more than ``max_workspace_bytes`` refuse.
    """
    if max_workspace_bytes is not None and (not isinstance(max_workspace_bytes, (int, np.integer)) or max_workspace_bytes < 0):
        raise ArgumentError(f"max_workspace_bytes: expected an integer of at least 0, got {max_workspace_bytes!r}")
    return _lender(around(), operator, direction, problem, asked or Settings(), max_workspace_bytes)


@contextmanager
def leased(
    operator: str,
    direction: str,
    problem: Any,
    *,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str | None = None,
    threads: int | None = None,
) -> Iterator[Any]:
    """A cached plan, the caller's alone inside the ``with``; it takes arrays in the layout of ``plan.problem``.

    Raises
    ------
    UnsupportedError, ArgumentError, TargetUnavailableError
        As ``choose``.
    """
    with lender(operator, direction, problem, Settings(target, algorithm, threads, accuracy)).lend() as plan:
        yield plan


def plan_for(
    operator: str,
    direction: str,
    problem: Any,
    *,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str | None = None,
    threads: int | None = None,
) -> Any:
    """A new plan, which the caller owns, for arrays in the layout of ``problem``.

    Raises
    ------
    UnsupportedError
        No kernel computes the problem as asked, or the one that does takes another layout.
    ArgumentError, TargetUnavailableError
        As ``choose``.
    """
    request = _request(operator, direction, Settings(target, algorithm, threads, accuracy).checked())
    kernel = _select(operator, direction, problem, request, None)
    if kernel.in_layout(problem) != problem:
        raise UnsupportedError(f"{kernel.name} takes images in {kernel.layout} alone, the problem is in {problem.layout}")
    return _planned(kernel, problem, request.threads)
