"""Memory of the device that a plan keeps for itself: made with the plan, given back when the plan is forgotten.

Source: cuda.core, ``Device.allocate``.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .arrays import View, c_strides, view
from .asm import SIMULATED


class Workspace:
    """Float32 numbers, (``shape``), uninitialised; ``view`` is what a launch takes."""

    def __init__(self, *shape: int) -> None:
        self.nbytes = 4 * prod(shape)
        if SIMULATED:
            self.memory: Any = np.full(shape, np.nan, "float32")
            self.view = view(self.memory)
        else:
            from cuda.core import Device

            device = Device()
            device.set_current()
            self.memory = device.allocate(max(1, self.nbytes), stream=device.default_stream)
            self.view = View(int(self.memory.handle), shape, c_strides(shape), np.dtype("float32"))
