"""Dropout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import checks
from ..parameters import Array
from ..planning import Planning
from .base import Layer, Shape, Stage


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, zero with probability ``rate``, else x / (1 - rate); otherwise x.

    What is dropped follows from the model's seed alone, never from threads or target.

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014.
    """

    rate: float

    def __post_init__(self) -> None:
        self._set(rate=checks.number("rate", self.rate, below=1.0))

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        return [DropoutStage(self.rate, shape, planning)] if planning.training else []


class DropoutStage(Stage):
    """The factors are drawn by NumPy, wherever they are used, and kept from the forward pass for the backward pass."""

    def __init__(self, rate: float, shape: Shape, planning: Planning) -> None:
        self._rate, self._generator = rate, planning.generator
        self._factors, self._out = planning.buffer("factors", shape), planning.buffer("out", shape)
        self._place = planning.memory.place
        self._drawn = self._place.drawing(self._factors)
        self._kept = np.empty(self._drawn.shape, np.bool_)

    def draw(self) -> None:
        drawn = self._drawn
        self._generator.random(out=drawn, dtype=drawn.dtype.type)
        np.greater_equal(drawn, self._rate, out=self._kept)
        np.copyto(drawn, self._kept)
        np.multiply(drawn, 1.0 / (1.0 - self._rate), out=drawn)
        self._place.write(self._factors, drawn)

    def forward(self, x: Array) -> Array:
        np.multiply(x, self._factors, out=self._out)
        return self._out

    def backward(self, grad: Array) -> Array | None:
        np.multiply(grad, self._factors, out=grad)
        return grad
