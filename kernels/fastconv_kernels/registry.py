"""Who can compute a problem: kernels as data, and the walk that chooses one.

Every operator family keeps a ranked table for each direction, best first, the NumPy reference last.  ``select`` walks it.
A kernel may *refuse* a problem (it cannot compute it) or *decline* it (it can, but another one is certainly faster): a kernel
asked for by name runs unless it refuses, and then the error lists every refusal.  Nothing falls back silently.  Of those that
neither refuse nor decline, the first is taken, or, where they can predict their times, the one with the least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from math import inf
from typing import Any

TARGETS = ("cpu", "cuda", "numpy")

ACCURACIES = {"fast": inf, "precise": 8.0, "exact": 1.0}
"""What may be asked for, and the largest factor on the rounding bound of a plain sum that a kernel may declare for it.

"precise" admits transforms of 2 x 2 outputs, whose error is in practice no larger than that of a plain sum.
"""

BEFORE = frozenset({"filters", "ordered", "weights", "calls"})
"""Units of work that are done before the calls of a plan whose weights are prepared: by ``pack``, and by the public call."""

WORTH = 1.05
"""How many times as fast a kernel that rounds more than a plain sum must be predicted to be."""

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
"""What the products of float32 operands may be rounded to; "fp32", nothing, is the default."""


def nothing_against(problem: Any) -> tuple[str, ...]:
    """The reasons of a kernel that takes every problem: none."""
    return ()


def never(problem: Any) -> bool:
    """No problem is taken in another layout than the kernel's."""
    return False


def single_precision(problem: Any) -> tuple[str, ...]:
    """The objection of kernels that take float32 alone."""
    return () if problem.dtype == "float32" else ("it computes in float32",)


@dataclass(frozen=True)
class Kernel:
    """One algorithm for one direction of one operator on one target.

    Attributes
    ----------
    operator, direction, algorithm, target : str
        Together the name: ``conv_forward__winograd_cpu``.
    plan : callable (problem, threads) -> plan
        Freezes tables, tile and workspace for one problem; the family's ``__init__`` documents how its plans are called.
    refuses, declines : callable (problem) -> reasons
        Why it cannot, and why it should not, compute a problem.
    options : tuple of str
        What its plans are told by ``made``: "prepared", whether weights are packed once for many calls; "most_bytes", how
        large their workspace should be at most, or None.
    layout : str or None
        The only layout of images its plans take; None: that of the problem.
    as_it_is : callable (problem) -> bool
        Which problems in another layout they take all the same.
    work : callable (problem) -> {unit: amount}, or None
        What it has to do, in units of its own: multiplications, numbers transformed, ….  None: it predicts nothing.
    costs : mapping from unit to nanoseconds
        What a unit costs on one thread; and "converted", a byte of images, or of a weight's gradient, brought to ``layout``
        or back.
    accuracy : float
        Factor on the rounding bound gamma_K of a plain sum; 1 for every kernel that only sums the products of the definition.
    precision : str
        What it rounds the operands of its products to; it is taken only where that was asked for.
    product_error : float
        Bound on the relative error of a single product by that rounding, besides the sum's.
    summary, source : str
        The idea in a line, and who had it.
    """

    operator: str
    direction: str
    algorithm: str
    target: str
    plan: Callable[..., Any]
    refuses: Callable[[Any], tuple[str, ...]] = nothing_against
    declines: Callable[[Any], tuple[str, ...]] = nothing_against
    options: tuple[str, ...] = ()
    layout: str | None = None
    as_it_is: Callable[[Any], bool] = never
    work: Callable[[Any], Mapping[str, float]] | None = None
    costs: Mapping[str, float] = field(default_factory=dict, compare=False)
    accuracy: float = 1.0
    precision: str = "fp32"
    product_error: float = 0.0
    summary: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        return f"{self.operator}_{self.direction}__{self.algorithm}_{self.target}"

    @property
    def exact(self) -> bool:
        """Whether it keeps to the bound of a plain sum."""
        return self.accuracy <= 1.0 and self.product_error == 0.0

    def made(self, problem: Any, threads: int, prepared: bool = False, most_bytes: int | None = None) -> Any:
        """A plan for ``problem``, in the layout that the plans take, which is told what it can be told."""
        told = {"prepared": prepared, "most_bytes": most_bytes}
        return self.plan(problem, threads, **{name: told[name] for name in self.options})

    def in_layout(self, problem: Any) -> Any:
        """``problem`` in the layout that the plans take."""
        return problem if self.layout is None or self.as_it_is(problem) else problem.with_layout(self.layout)

    def amounts(self, problem: Any, prepared: bool = False) -> Mapping[str, float] | None:
        """What a public call takes, unit by unit, with the conversion of its images; None: it predicts nothing.

        prepared: a plan's call with packed weights instead
        """
        if self.work is None:
            return None
        own = self.in_layout(problem)
        amounts = dict(self.work(own))
        if own != problem:
            # Weights are packed from any layout; their gradient is not.
            amounts["converted"] = problem.image_bytes + (self.direction == "backward_weight") * problem.weight_bytes
        return {unit: amount for unit, amount in amounts.items() if not (prepared and unit in BEFORE)}

    def predicted(self, problem: Any, prepared: bool = False) -> float | None:
        """Seconds that ``amounts`` take on one thread, if it can tell: only the ratio of two kernels' times means anything."""
        amounts = self.amounts(problem, prepared)
        return None if amounts is None else sum(self.costs[unit] * amount for unit, amount in amounts.items()) * 1e-9


def deferred(module: str, name: str) -> Callable[..., Any]:
    """What a module of this package calls ``name``, imported when it is first called: what it needs may be missing here."""

    def make(*arguments: Any, **keywords: Any) -> Any:
        return getattr(import_module(make.__module__), name)(*arguments, **keywords)

    make.__module__, make.__qualname__ = f"{__package__}.{module}", name
    return make


class Refused(Exception):
    """No kernel of the table may compute the problem as asked; the message lists why, kernel by kernel."""


def objections(
    kernel: Kernel,
    problem: Any,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str = "fast",
    precision: str = "fp32",
) -> tuple[str, ...]:
    """Why ``kernel`` is passed over for ``problem``; empty: it is taken.  Without a ``target`` it must run on the host."""
    if target is not None and kernel.target != target:
        return (f"target is {target}",)
    if target is None and kernel.target == "cuda":
        return ("the arrays are the host's",)
    if algorithm is not None and kernel.algorithm != algorithm:
        return (f"algorithm is {algorithm}",)
    if refusals := kernel.refuses(problem):
        return refusals
    if kernel.accuracy > ACCURACIES[accuracy]:
        return (f'accuracy="{accuracy}" was asked for, its error is up to {kernel.accuracy:g} times that of a plain sum',)
    if kernel.precision not in ("fp32", precision):
        return (f'precision="{precision}" was asked for, it rounds to {kernel.precision}',)
    return () if algorithm is not None else kernel.declines(problem)


def select(
    ranked: Sequence[Kernel],
    problem: Any,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str = "fast",
    precision: str = "fp32",
    prepared: bool = False,
) -> Kernel:
    """The kernel of ``ranked`` that computes ``problem``: of those that take it the fastest, by their own prediction.

    The other parameters: see ``objections``, and ``Kernel.predicted`` for ``prepared``.

    Raises
    ------
    Refused
        With the objections of every kernel.
    """
    answers = [(kernel, objections(kernel, problem, algorithm, target, accuracy, precision)) for kernel in ranked]
    takers = [kernel for kernel, against in answers if not against]
    if not takers:
        walked = [f"  {kernel.name}: {'; '.join(against)}" for kernel, against in answers]
        raise Refused("\n".join([f"no kernel computes {problem} as asked:", *walked]))
    return fastest(takers, problem, prepared)


def fastest(takers: Sequence[Kernel], problem: Any, prepared: bool = False) -> Kernel:
    """The kernel that predicts the least time; one that predicts nothing wins by standing first, and else loses.

    Of two that predict nearly the same, the one that only sums: see ``WORTH``.
    """

    def weighed(kernel: Kernel) -> float | None:
        seconds = kernel.predicted(problem, prepared)
        return seconds if seconds is None or kernel.exact else WORTH * seconds

    first, *others = takers
    if (least := weighed(first)) is None:
        return first
    for kernel in others:
        if (seconds := weighed(kernel)) is not None and seconds < least:
            first, least = kernel, seconds
    return first
