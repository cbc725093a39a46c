"""From images to features."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..parameters import Array
from ..planning import Planning
from .base import Layer, Shape, Stage


@dataclass(frozen=True)
class Flatten(Layer):
    """All numbers of an image as features, in the engine's order: pixel by pixel, and of each pixel channel by channel.

    (H, W, C), not (C, H, W): the rows of the following Dense layer's weight are in this order.
    """

    def output_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        return [FlattenStage((planning.batch, *shape))]


class FlattenStage(Stage):
    """The same memory, seen otherwise."""

    def __init__(self, shape: Shape) -> None:
        self._shape, self._flat = shape, (shape[0], prod(shape[1:]))

    def forward(self, x: Array) -> Array:
        return x.reshape(self._flat)

    def backward(self, grad: Array) -> Array | None:
        return grad.reshape(self._shape)
