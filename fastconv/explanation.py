"""What would compute something and why, and what there is: for people, as text, and for programs, as values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from inspect import signature
from typing import Any, NamedTuple

from . import dispatch
from .devices import cuda_status
from .dispatch import Kernel, Settings
from .errors import ArgumentError, UnsupportedError
from .functional._describe import DESCRIBERS


class Answer(NamedTuple):
    """What one kernel says of a problem.

    Attributes
    ----------
    name : str
    objections : tuple of str
        Empty: it takes it.
    predicted : float or None
        Seconds on one thread by its own estimate, whose ratio to another kernel's is what it is good for.
    measured : float or None
        Seconds as ``fastconv tune`` found them here.
    """

    name: str
    objections: tuple[str, ...]
    predicted: float | None = None
    measured: float | None = None

    def __str__(self) -> str:
        times = (("predicted", self.predicted), ("measured", self.measured))
        said = [f"{how} {seconds * 1e6:,.0f} µs" for how, seconds in times if seconds is not None]
        return "; ".join([*(self.objections or ("takes it",)), *said])


@dataclass(frozen=True)
class Explanation:
    """Why a kernel is chosen for a problem.

    Attributes
    ----------
    operator, direction : str
    problem
    walk : tuple of Answer
        In the order in which kernels are asked.  Chosen is the fastest that was measured here, else, of those without
        objections, the one that predicts the least time, else the first.
    chosen : str or None
        The kernel's name; None: no kernel computes it as asked.
    threads, workspace_bytes : int or None
        Of the chosen kernel's plan.
    flops, bytes : int or None
        Of the problem; bytes: every array once.
    tile : str
        Of the innermost loop of the chosen kernel; empty: it has none.
    """

    operator: str
    direction: str
    problem: Any
    walk: tuple[Answer, ...]
    chosen: str | None
    threads: int | None
    workspace_bytes: int | None
    flops: int | None
    bytes: int | None
    tile: str = ""

    def __str__(self) -> str:
        lines = [f"{self.operator} {self.direction}: {self.problem}"]
        lines += [f"  {'→' if answer.name == self.chosen else ' '} {answer.name}: {answer}" for answer in self.walk]
        if self.chosen is None:
            lines.append("  no kernel computes it as asked")
        else:
            tile = f", {self.tile}" if self.tile else ""
            lines.append(f"  chosen {self.chosen}, {self.threads} thread(s){tile}, workspace {self.workspace_bytes:,} bytes")
        if self.flops is not None and self.bytes:
            lines.append(f"  {self.flops:,} flop over {self.bytes:,} bytes: {self.flops / self.bytes:.1f} flop per byte")
        elif self.bytes is not None:
            lines.append(f"  {self.bytes:,} bytes")
        return "\n".join(lines)


def explain(
    what: Any,
    *arguments: Any,
    operator: str | None = None,
    direction: str = "forward",
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
    converting: bool = True,
    **keywords: Any,
) -> Explanation:
    """Walk the kernels for a problem, and say what each answers.

    Parameters
    ----------
    what : problem, plan or function
        A problem (``fastconv.Conv(…)``, …); a plan (of ``plan_conv2d``), its weights packed; or one of conv2d,
        conv2d_backward_input, conv2d_backward_weight and matmul, with those ``*arguments`` and ``**keywords`` of a call that
        state its problem (up to ``groups``, and ``layout``), shapes in place of arrays, and then a ``dtype``, if one likes.
    operator, direction : str
        Of a problem: ``operator`` is needed where several have problems of its kind, as "softmax" and "cross_entropy" do.
    algorithm, target, accuracy, threads, precision
        See ``fastconv.use``.
    converting : bool
        Whether images may be brought into another layout for a kernel, as calls do and the layers of a network do not.

    Returns
    -------
    Explanation
        Printing it shows the walk, the objections, the chosen kernel, its workspace, flops and bytes.

    Raises
    ------
    ArgumentError
        There is nothing to explain, or the arguments state no problem.
    TargetUnavailableError
        The target cannot run here.
    """
    if describe := DESCRIBERS.get(what) if callable(what) else None:
        try:
            signature(describe).bind(*arguments, **keywords)
        except TypeError as error:
            raise ArgumentError(f"what: expected the arguments that state the problem of {what.__name__}, {error}") from None
        problem, operator, direction = describe(*arguments, **keywords)
    elif arguments or keywords:
        raise ArgumentError("what: expected conv2d, its gradients or matmul where arguments of a call follow")
    else:
        problem = getattr(what, "problem", what)
        operator = operator or _operator_of(problem)
    prepared = not describe and problem is not what  # a plan's weights are packed once for many calls
    asked = Settings(target, algorithm, threads, accuracy, precision, prepared=prepared)
    walked = dispatch.walk(operator, direction, problem, asked, converting)
    found = dispatch.measured(operator, direction, problem, asked)
    try:
        lender = dispatch.lender(operator, direction, problem, asked, converting=converting, with_arrays=False)
    except UnsupportedError:
        lender = None
    return Explanation(
        operator,
        direction,
        problem,
        tuple(
            Answer(kernel.name, against, kernel.predicted(problem, prepared), found.get(kernel.algorithm))
            for kernel, against in walked
        ),
        lender.kernel.name if lender else None,
        lender.threads if lender else None,
        lender.workspace_bytes if lender else None,
        getattr(problem, "flops", None),
        getattr(problem, "bytes", None),
        str(lender.tile) if lender and lender.tile is not None else "",
    )


def _operator_of(problem: Any) -> str:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(problem).__name__).lower()
    if not any(name == operator for operator, _ in dispatch.OPERATORS):
        raise ArgumentError(f"operator: expected the name of one for {problem!r}")
    return name


@dataclass(frozen=True)
class Info:
    """What there is here.

    Attributes
    ----------
    kernels : tuple of (Kernel, reason)
        Every kernel in every table, and why it cannot run here; an empty reason: it can.
    cuda : str
        Why CUDA cannot be used, empty if it can.
    workspace_bytes : int
        Of the workspaces that calls of this process keep for the next ones.
    """

    kernels: tuple[tuple[Kernel, str], ...]
    cuda: str
    workspace_bytes: int = 0

    def __str__(self) -> str:
        width = max(len(kernel.name) for kernel, _ in self.kernels)
        rows = [(kernel.name.ljust(width), reason or "available", kernel.summary) for kernel, reason in self.kernels]
        lines = ["  ".join(row).rstrip() for row in rows]
        kept = f"workspaces kept: {self.workspace_bytes:,} bytes"
        return "\n".join([*lines, f"cuda: {self.cuda or 'available'}", kept])


def info() -> Info:
    """Every kernel with its availability here, and the state of CUDA.

    Returns
    -------
    Info
        Printing it shows a line for each kernel.
    """
    cuda = cuda_status()
    reason = "" if cuda.available else cuda.reason
    found = [kernel for entry in dispatch.OPERATORS for kernel in dispatch.kernels(*entry)]
    return Info(tuple((kernel, reason if kernel.target == "cuda" else "") for kernel in found), reason, dispatch.kept_bytes())
