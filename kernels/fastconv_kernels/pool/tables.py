"""What a pooling's windows cover along one axis, worked out once for a problem: kernels look it up."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np

from ..problems import Pool, adaptive_windows
from . import window

Integers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Axis:
    """Windows along one axis.

    Attributes
    ----------
    first, count : (outputs,)
        First pixel of each window inside the image, and how many taps are.
    area : (outputs,)
        By how many taps a mean divides.
    begin, windows : (pixels + 1,), (sum of counts,)
        Pixel h is in windows[begin[h] : begin[h + 1]], in their order.
    low, high, shift : (taps,)
        Tap i of the outputs low[i] <= p < high[i] is inside: at pixel p * stride + shift[i].  Not of adaptive windows.
    taps : three of (outputs,)
        The pixel of tap 0 of each window, be it inside or not; the first tap inside and the end of those.
    covering : two of (pixels,), a number
        The first window that a pixel is in, how many it is in, and the step from one to the next.
    """

    first: Integers
    count: Integers
    area: Integers
    begin: Integers
    windows: Integers
    low: Integers
    high: Integers
    shift: Integers
    taps: tuple[Integers, Integers, Integers]
    covering: tuple[Integers, Integers, int]


def _integers(values: Any) -> Integers:
    return np.array(values, np.int64)


def axis(problem: Pool, number: int) -> Axis:
    """The tables of the vertical axis, ``number`` 0, or the horizontal one, 1."""
    outputs, taps = ((problem.P, problem.R), (problem.Q, problem.S))[number]
    length = (problem.H, problem.W)[number]
    stride, (before, after), dilation = problem.stride[number], problem.padding[number], problem.dilation[number]
    if problem.adaptive:
        spans = [(each.start, len(each)) for each in adaptive_windows(length, outputs)]
    else:
        spans = [window.inside(p, taps, stride, before, dilation, length) for p in range(outputs)]
    first, count = (_integers([span[i] for span in spans]) for i in range(2))
    if problem.count_padding and not problem.adaptive:
        area = _integers([window.counted(p, taps, stride, before, dilation, length + after) for p in range(outputs)])
    else:
        area = count
    covering: list[list[int]] = [[] for _ in range(length)]
    for p, (start, number_inside) in enumerate(spans):
        for i in range(number_inside):
            covering[start + i * dilation].append(p)
    shift = _integers([i * dilation - before for i in range(taps)])
    low = np.maximum(0, -(shift // stride))
    high = np.clip((length - 1 - shift) // stride + 1, low, outputs)
    begin = np.concatenate([[0], np.cumsum([len(windows) for windows in covering])]).astype(np.int64)
    corner = first if problem.adaptive else _integers([p * stride - before for p in range(outputs)])
    begins = (first - corner) // dilation
    inside = corner, begins, begins + count
    covers = _integers([min(windows, default=0) for windows in covering]), np.diff(begin), dilation // gcd(stride, dilation)
    return Axis(
        first, count, area, begin, _integers([p for windows in covering for p in windows]), low, high, shift, inside, covers
    )


def uneven(problem: Pool) -> tuple[str, ...]:
    """The objection of kernels that step from window to window."""
    return ("windows of an adaptive pooling are not one stride apart",) if problem.adaptive else ()


def divisors(problem: Pool, vertical: Axis, horizontal: Axis) -> np.ndarray[Any, Any]:
    """(P, Q): what the sum of each window is divided by."""
    areas = np.outer(vertical.area, horizontal.area)
    return np.where(areas > 0, problem.divisor or areas, 1).astype(problem.dtype)


def empty_windows(problem: Pool) -> tuple[str, ...]:
    """The objection to windows that lie in the padding alone, which dilation makes possible."""
    for number in range(2):
        if problem.dilation[number] > 1 and not axis(problem, number).count.all():
            return ("a window lies in the padding alone",)
    return ()
