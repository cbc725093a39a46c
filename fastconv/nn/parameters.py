"""All that a network learns, in one array, so that an optimizer updates it in one launch; and what it keeps beside it."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from .place import Array, Place

__all__ = ["Array", "Parameters", "State", "aligned"]

LINE_BYTES = 64


def aligned(size: int, dtype: Any) -> Array:
    """``size`` zeros that start on a cache line."""
    length = size * np.dtype(dtype).itemsize
    memory = np.zeros(length + LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % LINE_BYTES
    return memory[start : start + length].view(dtype)


class _Layout:
    """Where named arrays lie in a flat one: each begins on a cache line; what is between them is zero and stays so."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> None:
        self._shapes, self._starts, self.size = shapes, dict[str, int](), 0
        unit = LINE_BYTES // np.dtype(dtype).itemsize
        for name, shape in shapes.items():
            self._starts[name] = self.size
            self.size += -(-prod(shape) // unit) * unit

    def views(self, flat: Array) -> dict[str, Array]:
        """The named arrays in ``flat``."""
        return {
            name: flat[self._starts[name] : self._starts[name] + prod(shape)].reshape(shape)
            for name, shape in self._shapes.items()
        }


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
        self._layout, self._dtype = _Layout(shapes, dtype), dtype
        self.count = sum(prod(shape) for shape in shapes.values())
        self._live_in(aligned(self._layout.size, dtype), aligned(self._layout.size, dtype))

    def _live_in(self, values: Array, gradients: Array) -> None:
        self.values, self.gradients = values, gradients
        self.value, self.gradient = self._layout.views(values), self._layout.views(gradients)

    def move(self, before: Place, place: Place) -> None:
        """Have all arrays at another place."""
        values = place.zeros(self._layout.size, self._dtype)
        place.write(values, before.fetch(self.values))
        self._live_in(values, place.zeros(self._layout.size, self._dtype))


class State:
    """What layers keep from step to step without learning it by a gradient, as running statistics.

    Attributes
    ----------
    value : {name: array}
        Views of one flat array.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> None:
        self._layout, self._dtype = _Layout(shapes, dtype), dtype
        self._live_in(aligned(self._layout.size, dtype), aligned(self._layout.size, dtype))

    def _live_in(self, values: Array, kept: Array) -> None:
        self.values, self._kept = values, kept
        self.value = self._layout.views(values)

    def move(self, before: Place, place: Place) -> None:
        """Have all arrays at another place."""
        values = place.zeros(self._layout.size, self._dtype)
        place.write(values, before.fetch(self.values))
        self._live_in(values, place.zeros(self._layout.size, self._dtype))

    def keep(self) -> None:
        """Remember all values, for a step that may come to nothing."""
        np.copyto(self._kept, self.values)

    def restore(self) -> None:
        """Go back to what was kept."""
        np.copyto(self.values, self._kept)
