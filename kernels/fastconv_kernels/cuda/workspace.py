"""Memory of the device that a plan keeps for itself: taken at its first call, given back when the plan is forgotten.

A plan can thus be made, and asked how much it will need, where there is no device.

Source: cuda.core, ``Device.allocate``.
"""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from .arrays import View, c_strides, view
from .asm import SIMULATED
from .launch import rehearsed, stream_here


class Workspace:
    """Uninitialised float32 numbers of a ``shape``; ``view`` is what a launch takes."""

    def __init__(self, *shape: int) -> None:
        self.shape, self.nbytes = shape, 4 * prod(shape)

    @property
    def view(self) -> View:
        if rehearsed.get() is not None:
            return View(0, self.shape, c_strides(self.shape), np.dtype("float32"))
        return view(self.memory) if SIMULATED else self._on_device

    @cached_property
    def memory(self) -> Any:
        """What holds it."""
        if SIMULATED:
            return np.full(self.shape, np.nan, "float32")
        from cuda.core import Device

        return Device().allocate(max(1, self.nbytes), stream=stream_here())

    @cached_property
    def _on_device(self) -> View:
        return View(int(self.memory.handle), self.shape, c_strides(self.shape), np.dtype("float32"))
