"""fastconv's public calls on a GPU: with their arrays there, or with the way there and back.

NOT YET RUN ON HARDWARE: shown in the simulator alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import fastconv as fc
from fastconv import dispatch
from fastconv.bench.cases import Case

from . import Entry
from .operands import Operands
from .ours import PUBLIC, outward, training

ROUNDED = 4.0
"""Times the error of a product, relative to the largest result, that one of rounded operands may be off."""


def entry(
    case: Case, operands: Operands, threads: int, layout: str = "NHWC", moved: bool = False, precision: str | None = None
) -> Entry | None:
    """From the host's call to the device's result; ``moved``: the arrays are the host's before and after.

    A training has its images on the host, and its network on the device from one ``fit`` to the next.
    """
    if case.operator == "train":
        return None if moved or layout != "NHWC" else training(case.problem, operands, threads, "cuda")
    if (case.operator, case.direction) not in PUBLIC:
        return None
    problem = case.problem if case.operator == "matmul" else case.problem.with_layout(layout)
    call, out = PUBLIC[case.operator, case.direction](problem, operands, None)
    if precision and case.operator != "pool":
        call = partial(call, precision=precision)
    with dispatch.use(precision=precision):
        kernel = dispatch.choose(case.operator, case.direction, problem, target="cuda")
    tolerance = max(Entry.tolerance, ROUNDED * kernel.product_error)
    if moved:
        made, result = partial(call, target="cuda"), partial(outward, out, case.direction, layout)
        return Entry(made, result, kernel.name, tolerance=tolerance)
    there = partial(call.func, *map(_there, call.args), **{name: _there(value) for name, value in call.keywords.items()})
    result = partial(_outward, there.keywords["out"], case.direction, layout)
    return Entry(_awaited(there), result, kernel.name, tolerance=tolerance)


def _there(value: Any) -> Any:
    return fc.to_device(value) if isinstance(value, np.ndarray) else value


def _awaited(call: Callable[[], Any]) -> Callable[[], Any]:
    """``call``, until the device has done it: a number is fetched that comes behind it on the same stream."""
    last = fc.to_device(np.zeros(1, np.float32))

    def whole() -> Any:
        result = call()
        fc.to_host(last)
        return result

    return whole


def _outward(out: Any, direction: str, layout: str, returned: Any) -> Any:
    return outward(fc.to_host(out), direction, layout, returned)
