"""What the calls share that treat an array element by element or row by row."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from ..errors import ArgumentError
from . import _check
from ._check import Array


def number(name: str, value: Any) -> float:
    """``value`` as a finite number."""
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, (int, float, np.integer, np.floating))
        or not isfinite(value)
    ):
        raise ArgumentError(f"{name}: expected a finite number, got {value!r}")
    return float(value)


def output(out: Any, like: Array, **inputs: Array) -> Array:
    """``out`` or a new array for a result that has the shape of ``like``; ``out`` may be one of the inputs itself."""
    if out is None:
        return _check.new(like.shape, like.dtype.newbyteorder("="), like)
    apart = {name: value for name, value in inputs.items() if not _check.same_elements(out, value)}
    return _check.output(out, like.shape, like.dtype.newbyteorder("="), apart)


def axis_of(value: Array, name: str, axis: Any) -> int:
    """``axis`` counted from 0."""
    if not _check.integer(axis) or not -value.ndim <= axis < value.ndim:
        raise ArgumentError(f"axis: expected an integer from {-value.ndim} to {value.ndim - 1} for {name}, got {axis!r}")
    return int(axis) % value.ndim
