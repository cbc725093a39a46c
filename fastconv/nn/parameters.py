"""All that a network learns, in one array, so that an optimizer updates it in one launch."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
LINE_BYTES = 64


def aligned(size: int, dtype: Any) -> Array:
    """``size`` zeros that start on a cache line."""
    length = size * np.dtype(dtype).itemsize
    memory = np.zeros(length + LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % LINE_BYTES
    return memory[start : start + length].view(dtype)


class Parameters:
    """Named parameters and their gradients: views of two flat arrays.

    Attributes
    ----------
    values, gradients : (size,) of ``dtype``
        Every parameter starts on a cache line; what lies between them is zero and stays so.
    value, gradient : {name: array}
        The views, in the order given.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> None:
        unit = LINE_BYTES // np.dtype(dtype).itemsize
        starts, size = {}, 0
        for name, shape in shapes.items():
            starts[name] = size
            size += -(-prod(shape) // unit) * unit
        self.count = sum(prod(shape) for shape in shapes.values())
        self.values, self.gradients = aligned(size, dtype), aligned(size, dtype)
        self.value, self.gradient = (
            {name: flat[starts[name] : starts[name] + prod(shape)].reshape(shape) for name, shape in shapes.items()}
            for flat in (self.values, self.gradients)
        )
