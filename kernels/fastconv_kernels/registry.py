"""Who can compute a problem: kernels as data, and the walk that chooses one.

Every operator family keeps a ranked table for each direction, best first, the NumPy reference last.  ``select`` walks it.
A kernel may *refuse* a problem (it cannot compute it) or *decline* it (it can, but a later one is faster): a kernel asked
for by name runs unless it refuses, and then the error lists every refusal.  Nothing falls back silently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

TARGETS = ("cpu", "cuda", "numpy")


def nothing_against(problem: Any) -> tuple[str, ...]:
    """The reasons of a kernel that takes every problem: none."""
    return ()


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
    layout : str or None
        The only layout of images its plans take; None: that of the problem.
    accuracy : float
        Factor on the rounding bound gamma_K of a plain sum; 1 for every kernel that only sums the products of the definition.
    summary, source : str
        The idea in a line, and who had it.
    """

    operator: str
    direction: str
    algorithm: str
    target: str
    plan: Callable[[Any, int], Any]
    refuses: Callable[[Any], tuple[str, ...]] = nothing_against
    declines: Callable[[Any], tuple[str, ...]] = nothing_against
    layout: str | None = None
    accuracy: float = 1.0
    summary: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        return f"{self.operator}_{self.direction}__{self.algorithm}_{self.target}"

    @property
    def exact(self) -> bool:
        """Whether it keeps to the bound of a plain sum."""
        return self.accuracy <= 1.0

    def in_layout(self, problem: Any) -> Any:
        """``problem`` in the layout that the plans take."""
        return problem if self.layout is None else problem.with_layout(self.layout)


class Refused(Exception):
    """No kernel of the table may compute the problem as asked; the message lists why, kernel by kernel."""


def objections(
    kernel: Kernel, problem: Any, algorithm: str | None = None, target: str | None = None, accuracy: str = "fast"
) -> tuple[str, ...]:
    """Why ``kernel`` is passed over for ``problem``; empty: it is taken."""
    if target is not None and kernel.target != target:
        return (f"target is {target}",)
    if algorithm is not None and kernel.algorithm != algorithm:
        return (f"algorithm is {algorithm}",)
    if refusals := kernel.refuses(problem):
        return refusals
    if accuracy == "exact" and not kernel.exact:
        return (f'accuracy="exact" was asked for, its error is up to {kernel.accuracy:g} times that of a plain sum',)
    return () if algorithm is not None else kernel.declines(problem)


def select(
    ranked: Sequence[Kernel], problem: Any, algorithm: str | None = None, target: str | None = None, accuracy: str = "fast"
) -> Kernel:
    """The first kernel of ``ranked`` that takes ``problem``.

    Raises
    ------
    Refused
        With the objections of every kernel.
    """
    walked = []
    for kernel in ranked:
        against = objections(kernel, problem, algorithm, target, accuracy)
        if not against:
            return kernel
        walked.append(f"  {kernel.name}: {'; '.join(against)}")
    raise Refused("\n".join([f"no kernel computes {problem} as asked:", *walked]))
