"""Policy: ``choice`` says which kernel computes a problem; here its plans are kept, and lent to one call at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from fastconv_kernels.cpu.workspace import LARGE_BYTES, uninitialised
from fastconv_kernels.problems import (
    ELEMENTWISE,
    FLOATS,
    LAYOUTS,
    BatchNorm,
    Conv,
    ConvPool,
    Dropout,
    Elementwise,
    Gather,
    Matmul,
    Maxout,
    Pool,
    Rows,
    Transposition,
    Update,
    adaptive_windows,
    padding_pairs,
)
from fastconv_kernels.registry import Kernel

from .choice import (
    OPERATORS,
    all_threads,
    candidates,
    choose,
    kernels,
    measured,
    planned,
    ranked_choice,
    request_for,
    selected,
    threads_for,
    tuning_file,
    walk,
)
from .errors import ArgumentError, TargetUnavailableError
from .memory import at_hand, forget_choices, remembered
from .settings import Around, Settings, around, settings, use, using_device

__all__ = [
    "ELEMENTWISE",
    "FLOATS",
    "LARGE_BYTES",
    "LAYOUTS",
    "OPERATORS",
    "Around",
    "BatchNorm",
    "Conv",
    "ConvPool",
    "Dropout",
    "Elementwise",
    "Elsewhere",
    "Gather",
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
    "at_hand",
    "candidates",
    "choose",
    "forget_choices",
    "kept_bytes",
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
    "using_device",
    "walk",
]

SPARE_PLANS = 4
"""Plans of one problem that are kept after having been in use at the same time."""

KEPT_BYTES = 1 << 28
"""Of all workspaces that nobody uses: beyond, those used longest ago are given up, and made anew when they are needed."""


_lenders: WeakValueDictionary[int, Lender] = WeakValueDictionary()
"""All there are, by number."""
_now = 0
"""The time by which lenders note their last use: it goes on when one is made, which is when the oldest may have to go."""


def kept_bytes() -> int:
    """Of all workspaces that functional calls keep for the next ones."""
    return sum(lender.kept_bytes for lender in _by_age())


def _by_age() -> list[Lender]:
    """All lenders, the one that was used last at the end."""
    found = [lender for reference in _lenders.valuerefs() if (lender := reference()) is not None]
    return sorted(found, key=lambda lender: lender.used)


def _give_up() -> None:
    """Keep no more than ``KEPT_BYTES``."""
    excess = kept_bytes() - KEPT_BYTES
    for lender in _by_age()[:-1]:  # the last one is about to be used
        if excess <= 0:
            return
        excess -= lender.give_up()


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
    tile
        Of its innermost loop; None: it has none.
    """

    def __init__(self, kernel: Kernel, problem: Any, request: Settings, limit: int | None) -> None:
        global _now
        self.kernel, self.problem = kernel, kernel.in_layout(problem)
        self.threads = threads_for(kernel, request.threads)
        self._plan = partial(kernel.made, self.problem, self.threads, bool(request.prepared), limit)
        self._spare: list[Any] = []  # of each plan its ``__call__``, which is called sooner than the plan
        self.used = _now = _now + 1
        first = self._plan()
        self.workspace_bytes: int = first.workspace_bytes
        self.tile: Any = getattr(first, "tile", None)
        _lenders[id(self)] = self
        self.give_back(first)
        _give_up()
        _now += 1  # whoever is used from here on was used later

    def take(self) -> Any:
        """A plan that is nobody else's until it is given back."""
        self.used = _now
        try:
            return self._spare.pop().__self__  # a list's pop and append are atomic: no lock that a fork could leave locked
        except IndexError:
            return self._plan()

    def give_back(self, plan: Any) -> None:
        """Keep the plan for other calls; one that raised is not given back, it may have been left half-way."""
        if len(self._spare) < SPARE_PLANS:
            self._spare.append(plan.__call__)

    def give_up(self) -> int:
        """Forget the plans that nobody uses; the bytes of their workspaces."""
        freed = self.kept_bytes
        self._spare = []
        return freed

    @property
    def kept_bytes(self) -> int:
        """Of the workspaces that nobody uses at the moment."""
        return len(self._spare) * self.workspace_bytes

    def __call__(self, *arguments: Any) -> None:
        # ``take`` and ``give_back``, spelt out: the calls would take as long as a small product.
        self.used, spare = _now, self._spare
        try:
            call = spare.pop()
        except IndexError:
            with self.lend() as plan:
                plan(*arguments)
        else:
            call(*arguments)
            spare.append(call)

    @contextmanager
    def lend(self) -> Iterator[Any]:
        """A plan that is the caller's alone inside the ``with``."""
        plan = self.take()
        yield plan
        self.give_back(plan)


class Elsewhere(TargetUnavailableError):
    """The arrays of a call are not where its kernel computes; ``functional`` begins such a call anew, in the right place."""


@remembered
def _lender(
    _around: Around, operator: str, direction: str, problem: Any, asked: Settings, limit: int | None, converting: bool
) -> Lender:
    request = request_for(operator, direction, asked.checked())
    return Lender(selected(operator, direction, problem, request, limit, converting), problem, request, limit)


def lender(
    operator: str,
    direction: str,
    problem: Any,
    asked: Settings | None = None,
    max_workspace_bytes: int | None = None,
    converting: bool = True,
    with_arrays: bool = True,
) -> Lender:
    """The cached lender of a problem's plans, in *its* problem's layout: in that of ``problem`` unless ``converting``.

    Raises
    ------
    Elsewhere
        The plans compute on a device, the arrays are on the host; without ``with_arrays`` there are none yet.
    UnsupportedError, ArgumentError, TargetUnavailableError
        As ``choose``; kernels that need more than ``max_workspace_bytes`` refuse.
    """
    if max_workspace_bytes is not None and (not isinstance(max_workspace_bytes, (int, np.integer)) or max_workspace_bytes < 0):
        raise ArgumentError(f"max_workspace_bytes: expected an integer of at least 0, got {max_workspace_bytes!r}")
    found = _lender(around(), operator, direction, problem, asked or Settings(), max_workspace_bytes, converting)
    if found.kernel.target == "cuda" and with_arrays and settings().device is None:
        raise Elsewhere("target: cuda was asked for, the arrays are on the host")
    return found


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
    prepared: bool = False,
) -> Any:
    """A new plan, which the caller owns, for arrays in the layout of ``problem``; prepared: see ``choose``.

    Raises
    ------
    UnsupportedError
        No kernel computes the problem as asked with images in its layout.
    ArgumentError, TargetUnavailableError
        As ``choose``.
    """
    asked = Settings(target, algorithm, threads, accuracy, prepared=prepared)
    request = request_for(operator, direction, asked.checked())
    kernel = selected(operator, direction, problem, request, converting=False)
    if kernel.target == "cuda" and settings().device is None:
        raise TargetUnavailableError("target: cuda was asked for after the model had begun on the host; compile it anew")
    return planned(kernel, problem, request.threads, prepared)
