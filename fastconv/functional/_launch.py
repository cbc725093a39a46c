"""From checked arrays to a kernel and back: layouts converted around the plan where it takes another than the caller's."""

from __future__ import annotations

from typing import Any

from .. import dispatch
from ..dispatch import Lender, Settings
from ._check import Array, new
from ._layout import entering, filters, leaving, room, weight_leaving, weight_view


def lent(
    operator: str,
    direction: str,
    problem: Any,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str | None = None,
    precision: str | None = None,
    max_workspace_bytes: int | None = None,
) -> Lender:
    """Who computes ``problem`` in the way that a public call's last arguments ask for."""
    asked = Settings(target, algorithm, None, accuracy, precision)
    return dispatch.lender(operator, direction, problem, asked, max_workspace_bytes)


def run_forward(
    lender: Lender,
    layout: str,
    x: Array,
    weight: Array,
    out: Array,
    bias: Array | None = None,
    residual: Array | None = None,
    activation: str | None = None,
) -> None:
    """Write the convolution of ``x`` with ``weight`` and its epilogue into ``out``, all in ``layout``."""
    plan = lender.take()
    packed = plan.pack(filters(weight, layout, lender.problem.layout))
    run_packed(lender, plan, layout, x, packed, out, bias, residual, activation)
    lender.give_back(plan)


def run_packed(
    lender: Lender,
    plan: Any,
    layout: str,
    x: Array,
    packed: Any,
    out: Array,
    bias: Array | None,
    residual: Array | None,
    activation: str | None,
) -> None:
    """``run_forward`` with weights that a plan of the same lender has packed."""
    inner, target = lender.problem.layout, lender.kernel.target
    result = room(out, layout, inner)
    addend = None if residual is None else entering(residual, layout, inner, target)
    plan(entering(x, layout, inner, target), packed, result, bias, addend, activation)
    leaving(result, out, layout, target)


def run_backward_input(lender: Lender, layout: str, grad_output: Array, weight: Array, out: Array) -> None:
    """Write the gradient of the input into ``out``, all in ``layout``."""
    inner, target = lender.problem.layout, lender.kernel.target
    result = room(out, layout, inner)
    plan = lender.take()
    packed = plan.pack(filters(weight, layout, inner))
    plan(entering(grad_output, layout, inner, target), packed, result)
    lender.give_back(plan)
    leaving(result, out, layout, target)


def run_backward_weight(lender: Lender, layout: str, grad_output: Array, x: Array, out: Array) -> None:
    """Write the gradient of the weight into ``out``, all in ``layout``."""
    inner, target = lender.problem.layout, lender.kernel.target
    view = weight_view(out, layout, inner)
    result = view if view.flags.c_contiguous else new(view.shape, out.dtype, out)
    plan = lender.take()
    plan(entering(grad_output, layout, inner, target), entering(x, layout, inner, target), result)
    lender.give_back(plan)
    if result is not view:
        weight_leaving(result, out, inner, layout, target)
