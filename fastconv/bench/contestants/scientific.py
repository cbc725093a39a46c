"""SciPy: one image of one channel and one filter."""

from __future__ import annotations

from functools import partial
from typing import Any

from scipy import ndimage, signal

from fastconv.bench.cases import Case

from . import Entry
from .operands import Operands

FUNCTIONS = {
    "ndimage.correlate": partial(ndimage.correlate, mode="constant"),
    "signal.correlate2d": partial(signal.correlate2d, mode="same"),
}


def entry(case: Case, operands: Operands, threads: int, function: str) -> Entry | None:
    """A function whose output is as large as the image: for odd windows padded by their halves."""
    problem = case.problem
    assert (problem.N, problem.C, problem.K) == (1, 1, 1), "SciPy takes one image and one filter"
    image, weight = operands.images("x", "NCHW")[0, 0], operands.weight("NCHW")[0, 0]
    return Entry(partial(FUNCTIONS[function], image, weight), _with_axes, function)


def _with_axes(result: Any) -> Any:
    return result[None, None]
