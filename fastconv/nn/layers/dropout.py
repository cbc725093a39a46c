"""Dropout."""

from __future__ import annotations

from dataclasses import dataclass

from fastconv import dispatch

from .. import checks
from ..parameters import Array
from ..planning import Planning
from .base import Layer, Shape, Stage


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, zero with probability ``rate``, else x / (1 - rate); otherwise x.

    What is dropped follows from the model's seed and the number of the step alone, never from threads or target.

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
    """The same numbers are drawn again in the backward pass: they follow from the step, and are nowhere kept."""

    def __init__(self, rate: float, shape: Shape, planning: Planning) -> None:
        self._out = planning.buffer("out", shape)
        self._drop = planning.plan("dropout", "forward", dispatch.Dropout(self._out.size, rate, planning.dtype))
        self._key, self._step = planning.key(), planning.memory.steps[1:]

    def forward(self, x: Array) -> Array:
        self._drop(x, self._out, self._key, self._step)
        return self._out

    def backward(self, grad: Array) -> Array | None:
        self._drop(grad, grad, self._key, self._step)
        return grad
