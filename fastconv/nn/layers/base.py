"""What a layer is: a description that a model turns into stages.

A ``Layer`` holds what the user wrote and nothing else: it computes shapes and lists parameters.  A ``Stage`` is that layer
for one batch size: its kernels' plans and its buffers, with explicit ``forward`` and ``backward``.  There is no automatic
differentiation: each stage knows its own gradient, and the model calls the stages in turn and then in reverse.

Inside a model images are (N, H, W, C), and the shape of a layer's input is (H, W, C) or (features,).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError

from .. import checks
from ..parameters import Array
from ..planning import Planning

Shape = tuple[int, ...]

LARGE = 10**6
"""An image's side into which every sensible window fits, to try a layer's arguments before its input is known."""


@dataclass(frozen=True)
class Parameter:
    """A parameter's shape, and on how many inputs one output of its layer depends, or the value that it starts with.

    It starts uniform in [-b, b), b = 1 / sqrt(fan_in): PyTorch's default for Conv2d and Linear, both
    weight and bias.
    """

    shape: Shape
    fan_in: int = 0
    value: float | None = None

    def draw(self, generator: np.random.Generator) -> Array:
        """Initial values, float64."""
        if self.value is not None:
            return np.full(self.shape, self.value)
        bound = self.fan_in**-0.5
        return generator.uniform(-bound, bound, self.shape)


class Stage:
    """A layer for one batch size.  The buffers it returns are its own and are overwritten by the next call."""

    def prepare(self) -> None:
        """Take note of new weights: to be called before ``forward`` whenever they may have changed."""

    def forward(self, x: Array) -> Array:
        """The layer's output for the batch ``x``."""
        raise NotImplementedError

    def backward(self, grad: Array) -> Array | None:
        """From the gradient of the last output, the gradients of the parameters and of the input.

        ``grad`` may be overwritten.  ``None`` comes back where nobody needs the gradient of the input.
        """
        raise NotImplementedError


def through(stages: Iterable[Stage], grad: Array) -> Array | None:
    """The gradient ``grad`` sent back through ``stages``, the last first; only the first that learns passes nothing on."""
    passed: Array | None = grad
    for stage in stages:
        assert passed is not None
        passed = stage.backward(passed)
    return passed


@dataclass(frozen=True)
class Layer:
    """The base of all layers.  The same description may stand in several places and models: each is a layer of its own.

    Parameters
    ----------
    input_shape : (C, H, W) or (features,), optional
        Of one image: written on the first layer, it lets the model be built before it sees any data.
    """

    _: KW_ONLY
    input_shape: Shape | None = None

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of one image's output.  Raises ``ArgumentError`` for an input that the layer cannot take."""
        raise NotImplementedError

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """What the layer learns, for one shape of input."""
        return {}

    def state(self, shape: Shape) -> dict[str, Parameter]:
        """What the layer keeps from step to step without learning it by a gradient."""
        return {}

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        """The layer for one batch size: usually one stage, two if an activation follows."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """The constructor's arguments that are not at their defaults, as JSON can hold them."""
        written = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "input_shape"}
        defaults = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in written.items() if value != defaults[name]}

    def _set(self, **values: Any) -> None:
        """Store checked arguments: for ``__post_init__`` alone, a layer does not change."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


@contextmanager
def arguments_of(layer: Layer, shape: Shape | None = None) -> Iterator[None]:
    """Turn the objections of a problem's arithmetic into ``ArgumentError`` in the words of the layer."""
    try:
        yield
    except ArgumentError:
        raise
    except ValueError as error:
        message = str(error)
        if "pool_size" in {field.name for field in fields(layer)}:
            message = message.replace("kernel_size:", "pool_size:", 1)
        raise ArgumentError(message if shape is None else f"{message}; the input is {written(shape)}") from error


def check_input_shape(shape: Any) -> Shape:
    """(C, H, W) or (features,) as a tuple of positive integers."""
    try:
        sizes = tuple(shape)
    except TypeError:
        sizes = ()
    if len(sizes) not in (1, 3):
        raise ArgumentError(f"input_shape: expected (channels, height, width) or (features,), got {shape!r}")
    return tuple(checks.integer("input_shape", size) for size in sizes)


def images(shape: Shape) -> tuple[int, int, int]:
    """(H, W, C) of a layer's input that has to be images."""
    if len(shape) != 3:
        raise ArgumentError(f"expected images (channels, height, width), but its input is {written(shape)}")
    return shape[0], shape[1], shape[2]


def written(shape: Shape) -> str:
    """A shape as a user writes it: (C, H, W) for (H, W, C)."""
    if len(shape) == 3:
        return f"(C, H, W) = {(shape[2], shape[0], shape[1])}"
    return f"(features,) = {shape}"
