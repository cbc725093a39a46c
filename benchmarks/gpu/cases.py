"""What is computed on a GPU to see that it is right, and how fast: problems of every operator that has a kernel for CUDA.

A case is computed by the reference in float64 and by a kernel, both called as the operator's plans are, on the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv import dispatch
from fastconv.dispatch import Kernel
from fastconv.functional._placement import copied_to, fetched, rehearsing, working
from fastconv_kernels.registry import select

Array = np.ndarray[Any, np.dtype[Any]]
Arguments = tuple[Any, ...]

COMPARED = 1 << 22
"""Elements of a result: of a larger one only so many are compared, spread over all of it."""

PACKED = ("conv", "forward"), ("conv", "backward_input")
"""Their second argument is a weight, which the plan packs."""


@dataclass(frozen=True)
class Case:
    """A problem, and how plans are called for it.

    Attributes
    ----------
    operator, direction, label : str
    problem
        Images in NHWC.
    make : callable (rng) -> arguments
        Of a plan, in order: float32 arrays, indices, None.
    written : tuple of int
        Which of the arguments a plan writes.
    terms : int
        Products or numbers in a sum, if that is all that is computed: the kernel's bound is theirs.
    tolerance : float
        Else: of the largest number that is expected.
    keywords : tuple of (name, value)
    suite : str
        Which bars it counts for.
    precisions : tuple of str
        If any, only the kernels that would be chosen for them are measured.
    """

    operator: str
    direction: str
    label: str
    problem: Any
    make: Callable[[np.random.Generator], Arguments]
    written: tuple[int, ...]
    terms: int = 0
    tolerance: float = 3e-6
    keywords: tuple[tuple[str, Any], ...] = ()
    suite: str = ""
    precisions: tuple[str, ...] = ()

    def kernels(self) -> list[Kernel]:
        """Those for CUDA that do not refuse it."""
        table = dispatch.kernels(self.operator, self.direction)
        return [each for each in table if each.target == "cuda" and not each.refuses(each.in_layout(self.problem))]

    def measured(self) -> list[Kernel]:
        """Those that are timed."""
        if not self.precisions:
            return self.kernels()
        asked = {"target": "cuda", "accuracy": "fast"}
        table = dispatch.kernels(self.operator, self.direction)
        return [select(table, self.problem, precision=precision, **asked) for precision in self.precisions]

    def arguments(self) -> Arguments:
        """The same numbers every time; nobody writes into them."""
        return self.make(Blank()) if rehearsing() else _numbers(self)  # type: ignore[arg-type]

    def call(self, plan: Any, arguments: Arguments) -> None:
        """``plan``, of the case's problem, with all that it takes."""
        first, second, *others = (*arguments, None, None)
        if (self.operator, self.direction) in PACKED:
            plan(first, plan.pack(second), *others[:-2])
        else:
            plan(*arguments, **dict(self.keywords))

    def work(self) -> tuple[int, int]:
        """(flop, bytes of every array once)"""
        moved = sum(value.nbytes for value in self.arguments() if isinstance(value, np.ndarray))
        return getattr(self.problem, "flops", 0), moved

    def truth(self, change: Callable[[Array], Array] = np.asarray) -> list[Array]:
        """What the reference writes, in float64, with floating-point arguments changed."""
        reference = dispatch.kernels(self.operator, self.direction)[-1]
        given = [_wide(change, value) for value in self.arguments()]
        self.call(reference.plan(replace(self.problem, dtype="float64"), 1), tuple(given))
        return [given[index] for index in self.written]

    def bounds(self, kernel: Kernel, expected: list[Array], sizes: Callable[[], list[Array]]) -> list[Any]:
        """How far each result of ``kernel`` may be from what is ``expected``; ``sizes`` are the sums of absolute terms."""
        if not self.terms:
            return [self.tolerance * (1 + np.abs(each).max(initial=0)) for each in expected]
        rounding = self.terms * 2.0**-24
        share = kernel.accuracy * rounding / (1 - rounding) + kernel.product_error
        return [share * each for each in sizes()]

    def wrong(self, kernel: Kernel, got: list[Array], expected: list[Array], sizes: Callable[[], list[Array]]) -> str:
        """Where a result is out of bounds, in a line; empty: it is right."""
        bounds = self.bounds(kernel, expected, sizes)
        for index, one, other, bound in zip(self.written, got, expected, bounds, strict=True):
            step = 1 + 2 * (one.size // COMPARED)  # odd: not always the same place of a tile
            ours, right, most = (array.reshape(-1)[::step] for array in np.broadcast_arrays(one, other, bound))
            outside = ~(np.abs(ours - right) <= most)
            if outside.any():
                first = int(np.argmax(outside))
                place = tuple(map(int, np.unravel_index(step * first, one.shape)))
                said = f"{outside.sum()} of {outside.size} elements of argument {index}, the first at {place}: "
                return f"{kernel.name}, {self.label}: {said}{ours[first]!r}, expected {right[first]!r}"
        return ""


class Blank:
    """Stands for a generator where nobody looks at numbers: in a rehearsal."""

    def standard_normal(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return np.broadcast_to(np.zeros((), dtype), shape)

    def integers(self, low: int, high: int, size: int) -> Array:
        return np.zeros(size, np.int64)


@lru_cache(maxsize=1)
def _numbers(case: Case) -> Arguments:
    """Made once for all kernels of a case."""
    return case.make(np.random.default_rng(0))


def _wide(change: Callable[[Array], Array], value: Any) -> Any:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    return change(value.astype("float64"))


class OnDevice:
    """A case's arguments on device 0, and a kernel's plan for it; calling it starts the kernel, once more each time."""

    def __init__(self, case: Case, kernel: Kernel) -> None:
        self.case, self.plan = case, kernel.plan(case.problem, 1)
        self.arguments = tuple(copied_to(0, value) if isinstance(value, np.ndarray) else value for value in case.arguments())
        self.place = next(value for value in self.arguments if value is not None)

    def __call__(self) -> None:
        with working(self.place):
            self.case.call(self.plan, self.arguments)

    def results(self) -> list[Array]:
        """What it has written."""
        with working(self.place):
            return [fetched(self.arguments[index]) for index in self.case.written]
