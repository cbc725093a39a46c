"""Padding that is not of zeros: the image is padded first, and convolved without padding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..dispatch import Conv
from ..errors import ArgumentError
from ._check import Array, Shape, conv_problem, one_of

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""torch's names → NumPy's."""


def framed(
    x_shape: Shape,
    weight_shape: Shape,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    mode: str,
    dtype: str,
    layout: str,
) -> tuple[Conv, Callable[[Array], Array]]:
    """(the convolution that remains, what has to be done to its input before)."""
    one_of("padding_mode", mode, tuple(MODES))
    problem = conv_problem(x_shape, weight_shape, stride, padding, dilation, groups, dtype, layout)
    if mode == "zeros" or not any(map(any, problem.padding)):
        return problem, _untouched
    for axis, size, sides in zip(("height", "width"), (problem.H, problem.W), problem.padding, strict=True):
        most = {"reflect": size - 1, "circular": size}.get(mode, max(sides))
        if max(sides) > most:
            raise ArgumentError(f'padding: "{mode}" has at most {most} pixels for the {axis} of {size}, got {sides}')
    frame = ((0, 0), (0, 0), *problem.padding) if layout == "NCHW" else ((0, 0), *problem.padding, (0, 0))
    grown = tuple(size + before + after for size, (before, after) in zip(x_shape, frame, strict=True))
    remaining = conv_problem(grown, weight_shape, stride, 0, dilation, groups, dtype, layout)
    return remaining, partial(np.pad, pad_width=frame, mode=MODES[mode])


def _untouched(x: Array) -> Array:
    return x
